"""Files written into text: uuencode, its base64 form, yEnc, BinHex 4; and mailboxes, which are messages in a row."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from itertools import chain
from mmap import mmap
from typing import BinaryIO

from contentfilter.unpack.opener import Kind, NotThisError, Sink, UnpackError
from contentfilter.unpack.openers.common import CHUNK, give, mapped, readable, sliced, translated

BLOCK_LIMIT = 5_000
"""Blocks, or messages of a mailbox, that are looked for; far above what any budget lets through."""

SIZE_LIMIT = 256 * 1024 * 1024
"""Bytes that one BinHex file may expand to in memory."""

_BEGIN = re.compile(rb"^begin(-base64)? [0-7]{3,4} ([^\r\n]{1,1024})\r?\n", re.MULTILINE)
_END_UU = re.compile(rb"^(?:end|====)[ \t]*\r?$", re.MULTILINE)
_YBEGIN = re.compile(
    rb"^=ybegin [^\r\n]{0,512}?name=([^\r\n]{1,1024})\r?\n(?:=ypart [^\r\n]{0,512}\r?\n)?", re.MULTILINE
)
_YEND = re.compile(rb"^=yend", re.MULTILINE)
_HQX = re.compile(rb"^\(This file must be converted with BinHex[^\r\n]{0,80}\r?\n\s{0,8}:", re.MULTILINE)
_FROM = re.compile(rb"^From [^\r\n]{1,512} [0-9:]{4,8}[^\r\n]{0,64}\r?\n(?=[!-9;-~]{1,80}:)", re.MULTILINE)

_HQX_DIGITS = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
_BASE64_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_BASE64 = bytes.maketrans(_HQX_DIGITS, _BASE64_DIGITS)
_RUN = re.compile(rb"\x90(.)", re.DOTALL)
_NOT_HQX = bytes(set(range(256)) - set(_HQX_DIGITS))
_YENC = bytes((byte - 42) % 256 for byte in range(256))
_YENC_ESCAPE = re.compile(rb"=(.)", re.DOTALL)

Content = bytes | mmap


class Text:
    """uuencode, yEnc and BinHex in text."""

    name = "text"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether a first line of a block stands near the beginning, or the content is text and long."""
        return any(mark in kind.head for mark in (b"begin", b"must be converted with BinHex"))

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the files. Raises NotThisError if there is none."""
        found = 0
        with mapped(file) as content:
            for name, pieces in chain(_uu(content), _yenc(content), _hqx(content)):
                try:
                    give(sink, name, pieces)
                except UnpackError:
                    sink.listed(name, "damaged")
                found += 1
        if not found:
            raise NotThisError("nothing written into the text")


def _uu(content: Content) -> Iterator[tuple[str, Iterator[bytes]]]:
    position = 0
    for _ in range(BLOCK_LIMIT):
        begin = _BEGIN.search(content, position)
        if begin is None:
            return
        end = _END_UU.search(content, begin.end())
        position = end.start() if end else len(content)
        decode = _base64_block if begin[1] else _uu_block
        yield readable(begin[2].strip()), decode(content, begin.end(), position)


def _uu_block(content: Content, start: int, end: int) -> Iterator[bytes]:
    """Line by line; one that is none is passed over, as decoders do."""
    block = bytearray()
    for line in content[start:end].splitlines():
        try:
            block += binascii.a2b_uu(line)
        except binascii.Error:
            # Some encoders write too many digits: the first character tells how many count.
            length = ((line[0] - 32) & 63) * 4 + 5 if line else 0
            try:
                block += binascii.a2b_uu(line[: length // 3])
            except binascii.Error:
                continue
        if len(block) >= CHUNK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _base64_block(content: Content, start: int, end: int) -> Iterator[bytes]:
    yield from sliced(binascii.a2b_base64(content[start:end]))


def _yenc(content: Content) -> Iterator[tuple[str, Iterator[bytes]]]:
    position = 0
    for _ in range(BLOCK_LIMIT):
        begin = _YBEGIN.search(content, position)
        if begin is None:
            return
        end = _YEND.search(content, begin.end())
        position = end.start() if end else len(content)
        yield readable(begin[1].strip()), _yenc_block(content, begin.end(), position)


def _yenc_block(content: Content, start: int, end: int) -> Iterator[bytes]:
    """http://www.yenc.org/yenc-draft.1.3.txt: each byte plus 42; after "=" plus 64 more."""
    data = content[start:end].translate(None, b"\r\n")
    data = _YENC_ESCAPE.sub(lambda escape: bytes([(escape[1][0] - 64) % 256]), data)
    yield from sliced(data.translate(_YENC))


def _hqx(content: Content) -> Iterator[tuple[str, Iterator[bytes]]]:
    position = 0
    for _ in range(BLOCK_LIMIT):
        begin = _HQX.search(content, position)
        if begin is None:
            return
        end = content.find(b":", begin.end())
        position = end if end >= 0 else len(content)
        with translated("BinHex"):
            forks = list(_hqx_forks(content[begin.end() : position]))
        yield from forks


def _hqx_forks(data: bytes) -> Iterator[tuple[str, Iterator[bytes]]]:
    """RFC 1741 appendix A: base64 with digits of its own, runs, then a header, a data fork and a resource fork."""
    digits = data.translate(_TO_BASE64, _NOT_HQX)
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    plain = _unrun(binascii.a2b_base64(digits + b"=" * (-len(digits) % 4)))
    length = plain[0] if plain else 0
    name = readable(plain[1 : 1 + length], "binhex")
    sizes = plain[length + 12 : length + 20]
    start = length + 22
    data_end = start + int.from_bytes(sizes[:4], "big")
    resource_end = data_end + 2 + int.from_bytes(sizes[4:], "big")
    yield name, sliced(plain, start, data_end)
    if resource_end > data_end + 2:
        yield name, sliced(plain, data_end + 2, resource_end)


def _unrun(data: bytes) -> bytes:
    """0x90 and a count repeat the byte before; 0x90 and zero stand for 0x90 itself."""
    plain = bytearray()
    position = 0
    for run in _RUN.finditer(data):
        plain += data[position : run.start()]
        count = run[1][0]
        plain += plain[-1:] * (count - 1) if count else b"\x90"
        position = run.end()
        if len(plain) > SIZE_LIMIT:
            raise ValueError("BinHex of more than 256 MiB")
    return bytes(plain + data[position:])


class Mailbox:
    """mbox: each message between two "From " lines."""

    name = "mbox"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether it begins as a mailbox: "From ", a sender, a date, then a header field."""
        return kind.head.startswith(b"From ") and _FROM.match(kind.head) is not None

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the messages."""
        with mapped(file) as content:
            begin = _FROM.match(content)
            for number in range(1, BLOCK_LIMIT + 1):
                if begin is None:
                    return
                following = _FROM.search(content, begin.end())
                end = following.start() if following else len(content)
                give(sink, f"message-{number}.eml", sliced(content, begin.end(), end))
                begin = following
            sink.trouble(f"a mailbox of more than {BLOCK_LIMIT} messages")
