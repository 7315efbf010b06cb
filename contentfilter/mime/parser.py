"""The parser: from a message's bytes to the tree of its parts."""

from __future__ import annotations

from contentfilter.message import Buffer
from contentfilter.mime.fields import parse_header
from contentfilter.mime.model import DEFAULT_LIMITS, Limits, Part, Tree


def parse(buffer: Buffer, limits: Limits = DEFAULT_LIMITS) -> Tree:
    """The parts of a message. Never raises, whatever the bytes."""
    header = parse_header(buffer, 0, len(buffer), limits.header_bytes, limits.fields)
    root = Part("1", "", 0, buffer, header, header.body_start, len(buffer), "text/plain")
    return Tree((root,))
