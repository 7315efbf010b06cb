"""Where withheld messages wait, and the way back out."""
