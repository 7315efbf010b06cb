"""Opens what can be opened, breadth first: a content, its members, their members, under one budget.

Runs in the boxed helper. Content decides what a thing is, not its name. Whatever an opener does wrong costs its own
container only; a spent budget ends the work, and what was seen until then stays.

Equal contents are opened once. Two things go by the name all the same, and so each further name of a content counts:
some signs (a text is a table if it is called `.csv`), and what a compressed stream holds is called as the stream is.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from contentfilter import mime
from contentfilter.errors import InspectorError
from contentfilter.filetype import SAMPLE, detect, is_text
from contentfilter.printable import gist
from contentfilter.unpack.budget import DEPTH, Meter
from contentfilter.unpack.known import Known, KnownContents
from contentfilter.unpack.members import Members
from contentfilter.unpack.naming import stream_names
from contentfilter.unpack.opener import COPY, EncryptedError, Kind, NotThisError, Opener, OverBudgetError, UnpackError
from contentfilter.unpack.report import Described, Report, Sign
from contentfilter.unpack.signs import UNEXAMINED, name_traits, signs_of_container
from contentfilter.unpack.source import Source
from contentfilter.unpack.store import Place, Store, kind_of

_MAIL_TYPES: Final = frozenset({"message/rfc822", "message/global", "message/news", "application/mbox"})
_MAIL_BEGINS: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s{0,64}(?:From \S[^\n]{0,998}\n)?(?:Received|Return-Path|Delivered-To|Message-ID|MIME-Version"
    rb"|Content-Type|From|To|Date|Subject|X-[A-Za-z0-9-]{1,60}|DKIM-Signature|Reply-To)[ \t]{0,64}:",
    re.IGNORECASE,
)
_LONGEST_MAIL: Final = 100_000_000

Look = Callable[[BinaryIO, Kind], Iterable[Sign]]


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
    _known: KnownContents = field(init=False)

    def __post_init__(self) -> None:
        self._known = KnownContents(self.store)

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
        known = self._known.of(store, source)
        if known.path != source.path:
            self.report.same(source.path, known.path)
            self._take_copy(store, source, known)
            return
        with store.open(source.place) as file:
            self._take_first(source, file, known)

    def _take_copy(self, store: Store, source: Source, known: Known) -> None:
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

    def _take_first(self, source: Source, file: BinaryIO, known: Known) -> None:
        kind = _kind(source, file)
        self._look(source, file, kind, known)
        mail = looks_like_mail(kind)
        openers = [opener for opener in self.openers if self._accepts(opener, kind, source)]
        if not openers and not mail:
            return
        if source.depth >= self.meter.depth:
            self.report.exceeded(DEPTH)
            return
        sink = Members(self, source, known)
        if mail:
            self._open_mail(source, file, sink)
        self._try(openers, source, file, kind, sink)
        for sign in signs_of_container(kind, sink.members):
            self._tell(source.path, sign)

    def _look(self, source: Source, file: BinaryIO, kind: Kind, known: Known) -> None:
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

    def _try(self, openers: Sequence[Opener], source: Source, file: BinaryIO, kind: Kind, sink: Members) -> None:
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

    def _open(self, opener: Opener, file: BinaryIO, kind: Kind, sink: Members) -> str:
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

    def _open_mail(self, source: Source, file: BinaryIO, sink: Members) -> None:
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
