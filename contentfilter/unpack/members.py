"""The members of one container, as its openers give them: counted, kept, and handed to the engine when complete."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from contentfilter import mime
from contentfilter.unpack.budget import Meter
from contentfilter.unpack.known import Known
from contentfilter.unpack.naming import stream_names
from contentfilter.unpack.opener import HARMLESS
from contentfilter.unpack.report import Described, Report
from contentfilter.unpack.source import Source
from contentfilter.unpack.store import LARGE, Place, Store, new_file, write_at


class Opening(Protocol):
    """What is needed here of the engine that opens a message's contents."""

    meter: Meter
    report: Report
    store: Store
    directory: Path
    passwords: tuple[str, ...]

    def add(self, described: Described, place: Place, depth: int) -> str:
        """A member is complete. Returns its media type."""


class Members:
    """What one container's openers give their members to: a :class:`contentfilter.unpack.opener.Sink`.

    given: how many there were; members: name and media type of those that are complete.
    """

    def __init__(self, engine: Opening, source: Source, known: Known) -> None:
        self._engine = engine
        self._source = source
        self._known = known
        self._unfinished: list[_Writer] = []
        self.given = 0
        self.members: list[tuple[str, str]] = []

    @property
    def passwords(self) -> tuple[str, ...]:
        """To be tried."""
        return self._engine.passwords

    @property
    def directory(self) -> Path:
        """Empty, for files that an opener needs."""
        return self._engine.directory

    def member(self, *names: str, reading: str = "") -> _Writer:
        """A member begins."""
        return self._member(tuple(name for name in names if name), "", (reading,) if reading else ())

    def stream(self) -> _Writer:
        """The content of a compressed stream begins, called as the stream is."""
        return self._member(stream_names(self._source.names) or ("content",), "", (), is_stream=True)

    def entity(self, part: mime.Part) -> _Writer:
        """A leaf of a message that was found in a container."""
        return self._member(part.names, part.declared_type, part.readings)

    def _member(
        self, names: tuple[str, ...], declared_type: str, readings: tuple[str, ...], *, is_stream: bool = False
    ) -> _Writer:
        described = self._described(names, declared_type, readings)
        writer = _Writer(self, self._engine, described, self._source.depth + 1, is_stream=is_stream)
        self._unfinished = [one for one in self._unfinished if not one.closed]
        self._unfinished.append(writer)
        return writer

    def listed(self, name: str, why: str) -> None:
        """A member of which only the name is known."""
        described = self._described((name,), "", (), why)
        self._engine.report.member(described, None)
        if why not in HARMLESS:
            self._engine.report.unchecked(described.path, why)

    def trouble(self, what: str) -> None:
        """Something in the container could not be looked into."""
        self._engine.report.unchecked(self._source.path, what)

    def _described(
        self, names: tuple[str, ...], declared_type: str, readings: tuple[str, ...], why: str = ""
    ) -> Described:
        self._engine.meter.part()
        self.given += 1
        path = f"{self._source.path}/{self.given}"
        return Described(path, names, declared_type, "", self._source.readings + readings, why)

    def complete(self, described: Described, place: Place, media_type: str, *, is_stream: bool) -> None:
        """A member has all its content."""
        self.members.extend((name, media_type) for name in described.names or ("",))
        if is_stream:
            self._known.streams.append((place, media_type))

    def finish(self) -> None:
        """Complete what an opener left open: what was seen stays."""
        for writer in self._unfinished:
            writer.close()
        self._unfinished.clear()


class _Writer:
    """Takes one member: in memory while it is small, then in a file."""

    def __init__(self, sink: Members, engine: Opening, described: Described, depth: int, *, is_stream: bool) -> None:
        self._sink = sink
        self._is_stream = is_stream
        self._engine = engine
        self._described = described
        self._depth = depth
        self._memory = bytearray()
        self._descriptor = -1
        self._size = 0
        self.closed = False

    def write(self, data: bytes | memoryview) -> None:
        if self.closed:
            raise ValueError("the member is complete")
        self._engine.meter.take(len(data))
        if self._descriptor < 0 and self._size + len(data) < LARGE:
            self._memory += data
        else:
            if self._descriptor < 0:
                self._descriptor = new_file()
                write_at(self._descriptor, self._memory, 0)
                self._memory = bytearray()
            write_at(self._descriptor, data, self._size)
        self._size += len(data)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._descriptor < 0:
            place = self._engine.store.add(self._memory)
        else:
            place = Place(self._engine.store.adopt(self._descriptor), 0, self._size)
        self._memory = bytearray()
        media_type = self._engine.add(self._described, place, self._depth)
        self._sink.complete(self._described, place, media_type, is_stream=self._is_stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
