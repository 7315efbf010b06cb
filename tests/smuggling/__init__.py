"""Whether a message can end DATA early, towards us or out of us: every mix of CR, LF, dot, NUL and a letter.

`reference` says by itself what must come of a stream of bytes; it shares no line with the product.
"""
