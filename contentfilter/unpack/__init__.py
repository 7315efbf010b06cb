"""Opens containers: parts become more parts, in a boxed helper process, under one budget."""
