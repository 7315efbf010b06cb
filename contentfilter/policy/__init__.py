"""A recipient's settings, and where they come from."""
