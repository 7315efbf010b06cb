"""Real servers of the filter's neighbourhood, each started privately in a directory given to it."""
