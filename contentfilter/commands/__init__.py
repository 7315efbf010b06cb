"""Commands of `contentfilter` that make groups of their own, and the bodies of others."""
