"""How a message lies in its file: compressed, and checked against its record when it comes out again."""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from typing import BinaryIO

import zstandard

from contentfilter.message import Message
from quarantine.durable import write_all
from quarantine.errors import ItemDamagedError
from quarantine.record import Record

_CHUNK = 1 << 20
_LEVEL = 3


def pack(descriptor: int, message: Message) -> None:
    """Compress the message into a file, a stretch at a time. Raises OSError."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj(size=len(message))
    with memoryview(message.buffer) as view:
        for start in range(0, len(view), _CHUNK):
            with view[start : start + _CHUNK] as piece:
                write_all(descriptor, compressor.compress(piece))
    write_all(descriptor, compressor.flush())


def unpack(source: BinaryIO, record: Record) -> Message:
    """Decompress into an anonymous file and make sure that it holds what the record says, and no byte more.

    Raises ItemDamagedError if it does not, OSError.
    """
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as target:
        try:
            with zstandard.ZstdDecompressor().stream_reader(source) as reader:
                while size <= record.size and (chunk := reader.read(_CHUNK)):
                    digest.update(chunk)
                    size += len(chunk)
                    target.write(chunk)
        except zstandard.ZstdError as error:
            raise ItemDamagedError(f"item {record.id} is damaged: {error}") from error
        if (size, digest.hexdigest()) != (record.size, record.digest):
            raise ItemDamagedError(f"item {record.id} is damaged: its content is not what was stored")
        target.flush()
        return Message(mmap.mmap(target.fileno(), 0, prot=mmap.PROT_READ) if size else b"")
