"""Commands of `contentfilter` that make groups of their own."""
