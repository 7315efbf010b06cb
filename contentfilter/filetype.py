"""What a content is, judged by the content itself, with the answers of file(1)."""

from __future__ import annotations

import threading

import magic

from contentfilter.errors import InspectorError

SAMPLE = 64 * 1024
"""Bytes from the beginning that are looked at: the farthest of libmagic's marks, that of ISO 9660, lies at 32,769."""

_TEXT_SAMPLE = 512
"""Bytes of plain text that are looked at. The marks of a script stand at its beginning, and libmagic's searches for
programming languages take several milliseconds on a few kilobytes."""

_TEXT = bytes([*b"\t\n\f\r\x1b", *range(0x20, 0x7F), *range(0x80, 0x100)])

_local = threading.local()


def detect(sample: bytes) -> str:
    """The media type of a content of which these are the first :data:`SAMPLE` bytes: "application/pdf".

    "application/octet-stream" where nothing is recognised, "application/x-empty" for nothing. May be called from any
    thread: libmagic's state must not be shared, so each thread has its own. Raises InspectorError if libmagic fails.
    """
    sample = sample[: _TEXT_SAMPLE if is_text(sample) else SAMPLE]
    try:
        return str(_detector().from_buffer(sample)).lower()
    except (magic.MagicException, OSError) as error:
        raise InspectorError(f"libmagic: {error}") from error


def is_text(sample: bytes) -> bool:
    """Whether there is no byte in the first :data:`SAMPLE` that text does not have."""
    # Of most other contents the beginning tells already.
    return not sample[:_TEXT_SAMPLE].translate(None, _TEXT) and not sample[:SAMPLE].translate(None, _TEXT)


def _detector() -> magic.Magic:
    detector = getattr(_local, "detector", None)
    if detector is None:
        detector = _local.detector = magic.Magic(mime=True)
    return detector
