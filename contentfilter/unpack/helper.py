"""The boxed process: opens containers for a worker, one message at a time, and can do nothing else.

A worker starts one of these as its nursery, which loads what opening needs and forks helpers from that: they share its
memory and are there within milliseconds. The nursery sees no mail. It dies with its worker, its helpers die with it,
and what a dead helper leaves running it finds and kills.

    python -m contentfilter.unpack.helper DESCRIPTOR

What it is asked over the socket, in JSON (:mod:`contentfilter.unpack.wire`):
``{"do": "fork", "settings": {...}}`` with a socket and a directory -> ``{"pid": N}``; ``{"do": "end", "pid": N}`` ->
``{"ended": N}`` once it and all its offspring are gone. A helper gets ``{"do": "open", ...}`` with the contents and
tells what it finds, to ``{"done": true}``; or ``{"do": "measure"}`` and tells ``{"measures": [...]}``.
"""

from __future__ import annotations

import encodings
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import contentfilter
from contentfilter.printable import told
from contentfilter.unpack import confine, naming, wire
from contentfilter.unpack.budget import SECONDS, Budget, Meter
from contentfilter.unpack.engine import Described, Engine, Look, Sign, Source, empty
from contentfilter.unpack.measures import Measure, measures
from contentfilter.unpack.opener import Opener, OverBudgetError
from contentfilter.unpack.store import Place, Store

_NETWORK: Final = Path("/proc/self/ns/net")
_SHOWN: Final = 200
_MOST_READINGS: Final = 16
_NAMES_AT_ONCE: Final = 16 * 1024
"""Bytes of names in one packet."""
_NAG: Final = 0.25
"""Seconds after which the alarm rings again, in case somebody swallowed it."""


def main(openers: Sequence[Opener], look: Look, descriptor: int) -> None:
    """Be a nursery until the worker closes the socket."""
    worker = os.getppid()
    confine.close_descriptors_but({0, 1, 2, descriptor})
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Whoever stops all of a service's processes at once means the worker, which needs us until it has finished.
        signal.signal(number, signal.SIG_IGN)
    confine.inherit_orphans()
    _load_ahead()
    before = _NETWORK.stat().st_ino
    missing = confine.no_network()
    own_network = _NETWORK.stat().st_ino != before
    confine.leave_root()
    confine.no_new_privileges()
    confine.die_with_parent(worker)
    missing += confine.filter_system_calls((-1, worker, os.getpid()))
    missing += _landlock_there()
    gc.collect()
    gc.freeze()
    # A worker that was killed meanwhile has nobody left who would want to know.
    with socket.socket(fileno=descriptor) as channel, suppress(BrokenPipeError, ConnectionResetError):
        wire.send(channel, {"ready": list(missing)})
        _Nursery(channel, openers, look, own_network=own_network).run()


def _load_ahead() -> None:
    """Load what will be wanted: helpers share it, and nobody, who we may become, need not be able to read it."""
    modules = ["landlock", "pyseccomp", "stringprep"]
    if os.getuid() == 0:
        modules += ["pikepdf", "oletools.olevba", "oletools.rtfobj", "msoffcrypto", "compressed_rtf", "tnefparse.mapi"]
        modules += ["zstandard"]
    modules += [f"encodings.{each.name}" for each in pkgutil.iter_modules(encodings.__path__)]
    for module in modules:
        with suppress(ImportError, RuntimeError, LookupError, OSError):
            importlib.import_module(module)


def _landlock_there() -> tuple[str, ...]:
    """Whether a helper will be able to confine itself: tried out in a process that is given up."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, "\n".join(confine.only_these_files(Path("/usr"), _program_files())).encode()[:500])
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor
        return tuple(pipe.read().splitlines())


@dataclass(slots=True)
class _Nursery:
    channel: socket.socket
    openers: Sequence[Opener]
    look: Look
    own_network: bool
    helpers: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Fork and bury until the worker is gone."""
        while (packet := wire.receive(self.channel)) is not None:
            values, descriptors = packet
            try:
                if values["do"] == "fork":
                    wire.send(self.channel, {"pid": self._fork(values["settings"], *descriptors)})
                else:
                    self._end(values["pid"])
                    wire.send(self.channel, {"ended": values["pid"]})
            except OSError as error:
                wire.send(self.channel, {"error": str(error)[:_SHOWN]})
            finally:
                wire.close_all(descriptors)

    def _fork(self, settings: dict[str, int], job_socket: int, directory: int) -> int:
        nursery = os.getpid()
        pid = os.fork()
        if pid:
            self.helpers.add(pid)
            return pid
        status = 70
        try:
            confine.die_with_parent(nursery)
            os.fchdir(directory)
            confine.close_descriptors_but({0, 1, 2, job_socket})
            confine.limit_resources(**settings)
            confine.only_these_files(Path(), _program_files())
            with socket.socket(fileno=job_socket) as channel:
                _serve(channel, self.openers, self.look, lambda: measures(self.own_network, settings["memory"]))
            status = 0
        except BaseException as error:
            print(f"a helper that opens containers failed: {told(error)}", file=sys.stderr)  # noqa: T201 - its log
        finally:
            os._exit(status)  # never return into the nursery's frames

    def _end(self, pid: int) -> None:
        """Kill a helper and all that it left behind."""
        self.helpers.discard(pid)
        confine.kill_children_but(self.helpers)


def _program_files() -> Iterator[Path]:
    """Where Python and what it imports lie."""
    yield Path(contentfilter.__file__).parent
    for entry in (sys.prefix, sys.base_prefix):
        yield from (Path(entry, "lib"), Path(entry, "bin"))
    yield from (Path(entry) for entry in sys.path if entry.endswith("-packages"))


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


def start() -> None:
    """What a worker starts as ``python -m contentfilter.unpack.helper DESCRIPTOR``."""
    from contentfilter.unpack.openers import OPENERS  # noqa: PLC0415 - a test brings its own
    from contentfilter.unpack.signs import look  # noqa: PLC0415

    main(OPENERS, look, int(sys.argv[1]))


if __name__ == "__main__":
    start()
