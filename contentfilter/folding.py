"""A header field as bytes: folded lines of ASCII (RFC 5322 section 2.2.3, RFC 2047). Pure."""

from __future__ import annotations

import email.header
import re
import textwrap

UNSAFE_IN_VALUE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What must not stand in a field that we write: controls, line ends of Unicode, half characters."""

_WIDTH = 78


def fold_field(name: str, value: str) -> bytes:
    """A whole field. Folded where a blank stands; other than ASCII becomes encoded words (RFC 2047)."""
    value = UNSAFE_IN_VALUE.sub("?", value)
    if not value.isascii():
        encoded = email.header.Header(value, "utf-8", maxlinelen=_WIDTH - 2, header_name=name).encode(linesep="\r\n")
        return f"{name}: {encoded}\r\n".encode("ascii")
    line = f"{name}: {value}"
    if len(line) > _WIDTH:
        line = "\r\n".join(
            textwrap.wrap(
                line, _WIDTH, subsequent_indent="\t", break_long_words=False, break_on_hyphens=False, tabsize=1
            )
        )
    return f"{line}\r\n".encode("ascii")
