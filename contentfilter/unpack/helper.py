"""What a helper does: it opens containers for a worker, one message at a time.

It gets ``{"do": "open", ...}`` with the contents and tells what it finds, in JSON (:mod:`contentfilter.unpack.wire`),
to ``{"done": true}``; or ``{"do": "measure"}`` and tells ``{"measures": [...]}``.
"""

from __future__ import annotations

import gc
import json
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from contentfilter.unpack import confine, naming, wire
from contentfilter.unpack.budget import SECONDS, Budget, Meter
from contentfilter.unpack.engine import Engine, Look, empty
from contentfilter.unpack.forker import Work
from contentfilter.unpack.measures import Measure
from contentfilter.unpack.opener import Opener, OverBudgetError
from contentfilter.unpack.report import Described, Sign
from contentfilter.unpack.source import Source
from contentfilter.unpack.store import Place, Store

_SHOWN: Final = 200
_MOST_READINGS: Final = 16
_NAMES_AT_ONCE: Final = 16 * 1024
"""Bytes of names in one packet."""
_NAG: Final = 0.25
"""Seconds after which the alarm rings again, in case somebody swallowed it."""


def ours() -> Work:
    """The work with everything that we can open, which has been tried out on small samples."""
    from contentfilter.unpack.openers import OPENERS  # noqa: PLC0415 - a test brings its own
    from contentfilter.unpack.signs import look  # noqa: PLC0415
    from contentfilter.unpack.warmup import warm_up  # noqa: PLC0415

    warm_up(OPENERS, look)
    return work_with(OPENERS, look)


def work_with(openers: Sequence[Opener], look: Look) -> Work:
    """The work with these."""
    return lambda channel, measure: _serve(channel, openers, look, measure)


def _serve(
    channel: socket.socket, openers: Sequence[Opener], look: Look, measure: Callable[[], Iterator[Measure]]
) -> None:
    """One job after another until the worker has no more for us."""
    signal.signal(signal.SIGALRM, _ring)
    sources = Store()
    while (packet := wire.receive(channel)) is not None:
        values, descriptors = packet
        for descriptor in descriptors:
            sources.adopt(descriptor)
        if values["do"] == "take":
            continue
        if values["do"] == "measure":
            wire.send(channel, {"measures": [asdict(each) for each in measure()]})
            continue
        listing = Place(**values["listing"])
        contents = [_source(each) for each in json.loads(sources.read(listing, 0, listing.size))]
        _work(channel, values, sources, contents, openers=openers, look=look)
        sources.close()
        gc.collect()


def _work(
    channel: socket.socket,
    job: dict[str, Any],
    sources: Store,
    contents: list[Source],
    *,
    openers: Sequence[Opener],
    look: Look,
) -> None:
    budget = Budget(**job["budget"])
    here = Path()
    empty(here)
    confine.limit_cpu(budget.seconds)
    store = Store()
    report = _Telling(channel, store)
    engine = Engine(openers, look, Meter(budget, job["size"]), report, store, here, tuple(job["passwords"]))
    signal.setitimer(signal.ITIMER_REAL, budget.seconds, _NAG)
    try:
        engine.run(sources, contents)
    except OverBudgetError as error:  # the alarm rang where the engine was just leaving
        report.exceeded(error.limit)
    except Exception as error:
        wire.send(channel, {"failed": f"{type(error).__name__}: {error}"[:_SHOWN]})
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    empty(here)
    store.close()
    wire.send(channel, {"done": True})


def _ring(number: int, frame: FrameType | None) -> None:
    raise OverBudgetError(SECONDS)


def _source(values: dict[str, Any]) -> Source:
    place = Place(values["file"], values["offset"], values["size"])
    return Source(values["path"], place, tuple(values["names"]), values["type"])


@dataclass(slots=True)
class _Telling:
    """Tells the worker what is found, as it is found."""

    channel: socket.socket
    store: Store
    sent: int = 0
    room: int = naming.MOST_CHARACTERS

    def member(self, member: Described, place: Place | None) -> None:
        """A member, in further packets the names that do not fit; with the first one of a file comes its descriptor."""
        names, all_told = naming.told(member.names, self.room)
        self.room -= sum(map(len, names[1:]))
        first, *more = _portions(names)
        values: dict[str, Any] = {
            "member": member.path,
            "names": first,
            "declared": member.declared_type[:_SHOWN],
            "type": member.media_type[:_SHOWN],
            "readings": [reading[:_SHOWN] for reading in member.readings[:_MOST_READINGS]],
            "why": member.why[:_SHOWN],
        }
        if not all_told:
            values["more_names"] = True
        fresh: tuple[int, ...] = ()
        if place is not None:
            values |= {"file": place.file, "offset": place.offset, "size": place.size}
            fresh = tuple(self.store.files[self.sent : place.file + 1])
            self.sent += len(fresh)
        wire.send(self.channel, values, fresh)
        for portion in more:
            wire.send(self.channel, {"also": member.path, "names": portion})

    def sign(self, path: str, sign: Sign) -> None:
        """Active content."""
        wire.send(self.channel, {"sign": path, "name": sign.name[:_SHOWN], "detail": sign.detail[:_SHOWN]})

    def unchecked(self, path: str, why: str) -> None:
        """What could not be looked into."""
        wire.send(self.channel, {"unchecked": path, "why": why[:_SHOWN]})

    def same(self, path: str, as_path: str) -> None:
        """A second copy of a content."""
        wire.send(self.channel, {"same": path, "as": as_path})

    def exceeded(self, limit: str) -> None:
        """A limit of the budget."""
        wire.send(self.channel, {"exceeded": limit})


def _portions(names: Sequence[str]) -> list[list[str]]:
    """The names in lists that each fit into a packet; the first may be empty."""
    portions: list[list[str]] = [[]]
    size = 0
    for name in names:
        length = len(json.dumps(name)) + 1
        if size + length > _NAMES_AT_ONCE and portions[-1]:
            portions.append([])
            size = 0
        portions[-1].append(name)
        size += length
    return portions
