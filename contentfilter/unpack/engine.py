"""Opens what can be opened, breadth first: a content, its members, their members, under one budget.

Runs in the boxed helper. Content decides what a thing is, not its name. Whatever an opener does wrong costs its own
container only; a spent budget ends the work, and what was seen until then stays.

Equal contents are opened once. Two things go by the name all the same, and so each further name of a content counts:
some signs (a text is a table if it is called `.csv`), and what a compressed stream holds is called as the stream is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Protocol, Self

from contentfilter import mime
from contentfilter.errors import InspectorError
from contentfilter.filetype import SAMPLE, detect, is_text
from contentfilter.printable import gist
from contentfilter.unpack.budget import DEPTH, Meter
from contentfilter.unpack.naming import stream_names
from contentfilter.unpack.opener import (
    COPY,
    HARMLESS,
    EncryptedError,
    Kind,
    NotThisError,
    Opener,
    OverBudgetError,
    UnpackError,
)
from contentfilter.unpack.signs import UNEXAMINED, name_traits, signs_of_container
from contentfilter.unpack.store import LARGE, Place, Store, kind_of, new_file, write_at

_MAIL_TYPES: Final = frozenset({"message/rfc822", "message/global", "message/news", "application/mbox"})
_MAIL_BEGINS: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s{0,64}(?:From \S[^\n]{0,998}\n)?(?:Received|Return-Path|Delivered-To|Message-ID|MIME-Version"
    rb"|Content-Type|From|To|Date|Subject|X-[A-Za-z0-9-]{1,60}|DKIM-Signature|Reply-To)[ \t]{0,64}:",
    re.IGNORECASE,
)
_PIECE: Final = 1 << 20
_LONGEST_MAIL: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Described:
    """What is told of a member. why: the reason for which only its name is known, else ""."""

    path: str
    names: tuple[str, ...]
    declared_type: str = ""
    media_type: str = ""
    readings: tuple[str, ...] = ()
    why: str = ""


class Sign(Protocol):
    """Active content, as :mod:`contentfilter.unpack.signs` names it."""

    @property
    def name(self) -> str:
        """Which: "macro-autorun"."""

    @property
    def detail(self) -> str:
        """For people."""


class Report(Protocol):
    """Is told what was found, as it is found."""

    def member(self, member: Described, place: Place | None) -> None:
        """A member, with its content unless only its name is known or it is a copy."""

    def sign(self, path: str, sign: Sign) -> None:
        """Active content."""

    def unchecked(self, path: str, why: str) -> None:
        """A content that could not be looked into, or not wholly."""

    def same(self, path: str, as_path: str) -> None:
        """A content that is another's very copy: what was told of that one goes for it as well, and what follows."""

    def exceeded(self, limit: str) -> None:
        """A limit of the budget was hit."""


Look = Callable[[BinaryIO, Kind], Iterable[Sign]]


@dataclass(frozen=True, slots=True)
class Source:
    """A content to be opened: where it comes from, where it lies, and what is said of it."""

    path: str
    place: Place
    names: tuple[str, ...] = ()
    declared_type: str = ""
    media_type: str = ""
    readings: tuple[str, ...] = ()
    depth: int = 0


@dataclass(slots=True)
class _Known:
    """A content that was met.

    path: where first; traits and stems: of all names that it has had so far; told: its signs; streams: where what it
    holds as a compressed stream lies, with the type of each.
    """

    path: str
    traits: frozenset[str]
    stems: set[str]
    told: set[tuple[str, str]] = field(default_factory=set)
    streams: list[tuple[Place, str]] = field(default_factory=list)


@dataclass(slots=True)
class Engine:
    """Opens the contents of one message.

    sources: the store that the given contents lie in; store: where members go; directory: empty, for openers.
    """

    openers: Sequence[Opener]
    look: Look
    meter: Meter
    report: Report
    store: Store
    directory: Path
    passwords: tuple[str, ...] = ()
    _waiting: deque[tuple[Store, Source]] = field(default_factory=deque)
    _known: dict[bytes, _Known] = field(default_factory=dict)
    """By digest."""
    _firsts: dict[int, tuple[Store, Place, _Known] | None] = field(default_factory=dict)
    """By size, the first content of it, until there is a second: only then can it have an equal, and needs a digest."""
    _digests: dict[Place, bytes] = field(default_factory=dict)
    """Of what lies in our own store: a stream that has many names is read once."""

    def run(self, sources: Store, contents: Iterable[Source]) -> None:
        """Open everything. Tells the report; raises OSError if contents cannot be stored."""
        self._waiting.extend((sources, content) for content in contents)
        try:
            while self._waiting:
                self.meter.check_time()
                self._take(*self._waiting.popleft())
        except OverBudgetError as error:
            self.report.exceeded(error.limit)

    def _take(self, store: Store, source: Source) -> None:
        known = self._known_of(store, source)
        if known.path != source.path:
            self.report.same(source.path, known.path)
            self._take_copy(store, source, known)
            return
        with store.open(source.place) as file:
            self._take_first(source, file, known)

    def _known_of(self, store: Store, source: Source) -> _Known:
        """What is known of a content: under another path, if it was met before."""
        known = _Known(source.path, name_traits(source.names), set(stream_names(source.names)))
        size = source.place.size
        if size not in self._firsts:
            self._firsts[size] = store, source.place, known
            return known
        if (first := self._firsts[size]) is not None:
            self._known[self._digest(first[0], first[1])] = first[2]
            self._firsts[size] = None
        return self._known.setdefault(self._digest(store, source.place), known)

    def _digest(self, store: Store, place: Place) -> bytes:
        if store is not self.store:
            return _digest(store, place)
        if place not in self._digests:
            self._digests[place] = _digest(store, place)
        return self._digests[place]

    def _take_copy(self, store: Store, source: Source, known: _Known) -> None:
        """What only the further names of a content that was met before can show."""
        traits = name_traits(source.names)
        if not traits <= known.traits:
            known.traits |= traits
            with store.open(source.place) as file:
                self._look(source, file, _kind(source, file), known)
        stems = [name for name in stream_names(source.names) if name not in known.stems]
        if not known.streams or not stems:
            return
        known.stems.update(stems)
        if source.depth >= self.meter.depth:
            self.report.exceeded(DEPTH)
            return
        for number, (place, media_type) in enumerate(known.streams, 1):
            self.meter.part()
            path, readings = f"{source.path}/{number}", source.readings
            self.report.member(Described(path, tuple(stems), "", media_type, readings, COPY), None)
            if place.size:
                copy = Source(path, place, tuple(stems), "", media_type, readings, source.depth + 1)
                self._waiting.append((self.store, copy))

    def _take_first(self, source: Source, file: BinaryIO, known: _Known) -> None:
        kind = _kind(source, file)
        self._look(source, file, kind, known)
        mail = looks_like_mail(kind)
        openers = [opener for opener in self.openers if self._accepts(opener, kind, source)]
        if not openers and not mail:
            return
        if source.depth >= self.meter.depth:
            self.report.exceeded(DEPTH)
            return
        sink = _Sink(self, source, known)
        if mail:
            self._open_mail(source, file, sink)
        self._try(openers, source, file, kind, sink)
        for sign in signs_of_container(kind, sink.members):
            self._tell(source.path, sign)

    def _look(self, source: Source, file: BinaryIO, kind: Kind, known: _Known) -> None:
        file.seek(0)
        try:
            for sign in self.look(file, kind):
                if (sign.name, sign.detail) not in known.told:
                    known.told.add((sign.name, sign.detail))
                    self._tell(source.path, sign)
        except OverBudgetError:
            raise
        except Exception as error:
            self.report.unchecked(source.path, f"not searched for active content: {_unforeseen(error)}")

    def _tell(self, path: str, sign: Sign) -> None:
        if sign.name == UNEXAMINED:
            self.report.unchecked(path, f"not searched for active content: {sign.detail}")
        else:
            self.report.sign(path, sign)

    def _accepts(self, opener: Opener, kind: Kind, source: Source) -> bool:
        try:
            return opener.accepts(kind)
        except Exception as error:
            self.report.unchecked(source.path, f"{opener.name}: {_unforeseen(error)}")
            return False

    def _try(self, openers: Sequence[Opener], source: Source, file: BinaryIO, kind: Kind, sink: _Sink) -> None:
        """Ask one opener after another. Those that fail are excused if another exclusive one gave all members."""
        troubles: list[str] = []
        done = False
        for opener in openers:
            if opener.exclusive and done:
                continue
            before = sink.given
            trouble = self._open(opener, file, kind, sink)
            gave = sink.given > before
            if not trouble and opener.exclusive and gave:
                done = True
                troubles.clear()
            elif trouble and (gave or not opener.exclusive):
                self.report.unchecked(source.path, trouble)
                done = done or (gave and opener.exclusive)
            elif trouble:
                troubles.append(trouble)
        if troubles and not done:
            # "encrypted" says more than what an opener that knows less has to complain of.
            self.report.unchecked(source.path, next((each for each in troubles if "encrypted" in each), troubles[0]))

    def _open(self, opener: Opener, file: BinaryIO, kind: Kind, sink: _Sink) -> str:
        """What went wrong, "" if nothing."""
        file.seek(0)
        try:
            opener.open(file, kind, sink)
        except OverBudgetError:
            raise
        except NotThisError:
            return ""
        except EncryptedError as error:
            return f"encrypted: {error}"
        except UnpackError as error:
            return f"damaged: {opener.name}: {error}"
        except Exception as error:
            return f"unreadable: {opener.name}: {_unforeseen(error)}"
        finally:
            sink.finish()
            empty(self.directory)
        return ""

    def _open_mail(self, source: Source, file: BinaryIO, sink: _Sink) -> None:
        if source.place.size > _LONGEST_MAIL:
            self.report.unchecked(source.path, "an attached message larger than is taken apart")
            return
        content = os.pread(file.fileno(), source.place.size, 0)
        limits = mime.Limits(depth=self.meter.depth, parts=max(1, self.meter.parts_left))
        tree = mime.parse(content, limits)
        for part in tree.leaves:
            with sink.entity(part) as writer:
                writer.write(part.content())
        for limit in tree.exceeded:
            self.report.unchecked(source.path, limit)

    def add(self, described: Described, place: Place, depth: int) -> str:
        """A member is complete: report it, and open it in its turn. Returns its media type."""
        media_type = media_type_of(self.store.read(place, 0, SAMPLE))
        known = replace(described, media_type=media_type)
        self.report.member(known, place)
        if place.size:
            source = Source(known.path, place, known.names, known.declared_type, media_type, known.readings, depth)
            self._waiting.append((self.store, source))
        return media_type


class _Sink:
    """What one container's openers give their members to."""

    def __init__(self, engine: Engine, source: Source, known: _Known) -> None:
        self._engine = engine
        self._source = source
        self._known = known
        self._unfinished: list[_Writer] = []
        self.given = 0
        self.members: list[tuple[str, str]] = []

    @property
    def passwords(self) -> tuple[str, ...]:
        return self._engine.passwords

    @property
    def directory(self) -> Path:
        return self._engine.directory

    def member(self, *names: str, reading: str = "") -> _Writer:
        return self._member(tuple(name for name in names if name), "", (reading,) if reading else ())

    def stream(self) -> _Writer:
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
        described = self._described((name,), "", (), why)
        self._engine.report.member(described, None)
        if why not in HARMLESS:
            self._engine.report.unchecked(described.path, why)

    def trouble(self, what: str) -> None:
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

    def __init__(self, sink: _Sink, engine: Engine, described: Described, depth: int, *, is_stream: bool) -> None:
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


def media_type_of(head: bytes) -> str:
    """What libmagic says; unknown if it fails.

    It takes two milliseconds for XML, of which Office documents consist; what begins as XML and is no picture is that.
    """
    if head.startswith(b"<?xml") and b"<svg" not in head[:4096] and is_text(head):
        return "text/xml"
    try:
        return detect(head)
    except InspectorError:
        return "application/octet-stream"


def looks_like_mail(kind: Kind) -> bool:
    """Whether a content is worth reading as a message or a mailbox."""
    return kind.media_type in _MAIL_TYPES or _MAIL_BEGINS.match(kind.head) is not None


def _digest(store: Store, place: Place) -> bytes:
    digest = hashlib.sha256()
    for offset in range(0, place.size, _PIECE):
        digest.update(store.read(place, offset, _PIECE))
    return digest.digest()


def _kind(source: Source, file: BinaryIO) -> Kind:
    media_type = source.media_type or media_type_of(os.pread(file.fileno(), SAMPLE, 0))
    return kind_of(file, source.place.size, media_type, source.names)


def empty(directory: Path) -> None:
    """Remove everything below a directory, as far as that can be done."""
    with suppress(OSError):
        for entry in list(os.scandir(directory)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def _unforeseen(error: Exception) -> str:
    return gist(error)
