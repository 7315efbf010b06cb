"""From bytes to parts: fields, boundaries, encodings and file names (RFC 5322, 2045-2047, 2231). Pure: no I/O.

Everything works on offsets into the raw bytes, without recursion and under :class:`Limits`; nothing raises, whatever
the input. Where mail programs differ the place is named as an :class:`Ambiguity` and read in each way.
"""

from __future__ import annotations

from contentfilter.mime.fields import Defect, Field, Header, parse_header
from contentfilter.mime.model import Ambiguity, Limits, Part, Tree
from contentfilter.mime.parser import parse
from contentfilter.mime.words import decode_words

__all__ = [
    "Ambiguity",
    "Defect",
    "Field",
    "Header",
    "Limits",
    "Part",
    "Tree",
    "decode_words",
    "parse",
    "parse_header",
]
