"""A sink that keeps what an opener gives, under a small budget, and a way to ask the openers as the engine does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from contentfilter import filetype
from contentfilter.unpack.naming import stream_names
from contentfilter.unpack.opener import Kind, NotThisError, Opener, OverBudgetError, UnpackError
from contentfilter.unpack.openers import OPENERS


@dataclass
class Member:
    name: str
    reading: str
    others: tuple[str, ...] = ()
    content: bytearray = field(default_factory=bytearray)
    closed: bool = False


class Writing:
    def __init__(self, sink: KeepingSink, member: Member) -> None:
        self.sink, self.kept = sink, member

    def write(self, data: bytes | memoryview) -> None:
        self.sink.spend(len(data))
        self.kept.content.extend(data)

    def close(self) -> None:
        self.kept.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class KeepingSink:
    def __init__(
        self,
        directory: Path,
        passwords: tuple[str, ...] = (),
        room: int = 8_000_000,
        parts: int = 3000,
        names: tuple[str, ...] = (),
    ):
        self.directory, self.passwords, self.names = directory, passwords, names
        self.room, self.parts = room, parts
        self.members: list[Member] = []
        self.without_content: list[tuple[str, str]] = []
        self.troubles: list[str] = []
        self.errors: list[UnpackError] = []
        self.over: str = ""

    def spend(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise OverBudgetError("bytes")

    def member(self, *names: str, reading: str = "") -> Writing:
        for name in names:
            assert len(name) <= 1024
            name.encode()  # no lone surrogates
        if len(self.members) >= self.parts:
            raise OverBudgetError("parts")
        self.members.append(Member(names[0], reading, names[1:]))
        return Writing(self, self.members[-1])

    def stream(self) -> Writing:
        return self.member(*(stream_names(self.names) or ("content",)))

    def listed(self, name: str, why: str) -> None:
        self.without_content.append((name, why))

    def trouble(self, what: str) -> None:
        self.troubles.append(what)

    @property
    def found(self) -> dict[str, bytes]:
        """The members of the straight reading."""
        return {member.name: bytes(member.content) for member in self.members if not member.reading}

    @property
    def readings(self) -> set[tuple[str, bytes]]:
        """(name, content) by every name and in every reading."""
        return {(name, bytes(one.content)) for one in self.members for name in (one.name, *one.others)}


def kind_of(content: bytes, names: tuple[str, ...] = ("attachment",)) -> Kind:
    head = content[: filetype.SAMPLE]
    return Kind(filetype.detect(head), head, names, content[-filetype.SAMPLE :])


@contextmanager
def opened(content: bytes) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        file.seek(0)
        yield file


def unpack(
    content: bytes,
    passwords: tuple[str, ...] = (),
    *,
    names: tuple[str, ...] = ("attachment",),
    room: int = 8_000_000,
    only: Opener | None = None,
) -> KeepingSink:
    """All openers in their order, as the contract says; the directory must be empty after each."""
    with tempfile.TemporaryDirectory() as directory, opened(content) as file:
        sink = KeepingSink(Path(directory), passwords, room, names=names)
        kind, done = kind_of(content, names), False
        for opener in (only,) if only else OPENERS:
            if (opener.exclusive and done) or not opener.accepts(kind):
                continue
            before = len(sink.members) + len(sink.without_content)
            try:
                opener.open(file, kind, sink)
            except NotThisError:
                pass
            except UnpackError as error:
                sink.errors.append(error)
            except OverBudgetError as error:
                sink.over = error.limit
                break
            finally:
                assert list(Path(directory).iterdir()) == []
            done = done or (opener.exclusive and len(sink.members) + len(sink.without_content) > before)
        return sink
