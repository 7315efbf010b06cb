"""The nursery: the process that helpers are forked from, the boxed processes that open containers for workers.

It loads what opening needs once the first helper is wanted, and forks helpers from that: they share its memory and are
there within milliseconds. The nursery sees no mail. It ends when nobody can ask it any more, the helpers of a worker
end with that worker, all of them end with the nursery, and what a dead helper leaves running it finds and kills.

    python -m contentfilter.unpack.forker DESCRIPTOR

What it is asked, in JSON (:mod:`contentfilter.unpack.wire`), over the socket that it is started with, the door:
``{"do": "serve"}`` with another socket, a worker's channel, on which it says ``{"ready": [what is missing]}``. There:
``{"do": "fork", "settings": {...}}`` with a socket and a directory -> ``{"pid": N}``; ``{"do": "end", "pid": N}`` ->
``{"ended": N}`` once it and all its offspring are gone. What a helper is asked: :mod:`contentfilter.unpack.helper`.
"""

from __future__ import annotations

import encodings
import importlib
import os
import pkgutil
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import contentfilter
from contentfilter import allocator
from contentfilter.printable import told
from contentfilter.unpack import confine, wire
from contentfilter.unpack.measures import Measure, measures

Work = Callable[[socket.socket, Callable[[], Iterator[Measure]]], None]
"""What a helper does with its socket; it can ask what keeps it in its box."""

_NETWORK: Final = Path("/proc/self/ns/net")
_AHEAD: Final = ("landlock", "pyseccomp", "pikepdf")
_LATE: Final = (
    *("stringprep", "zstandard", "oletools.olevba", "oletools.rtfobj", "msoffcrypto", "compressed_rtf"),
    *("tnefparse.mapi", "cryptography.hazmat.primitives.ciphers", "cryptography.hazmat.primitives.ciphers.modes"),
)
"""What a helper loads by itself if it meets one of the few contents that need it: all of it is 15 MB."""
_MOST_FOUND: Final = 32_768
"""Bytes; a pipe takes so many without a reader."""
_SHOWN: Final = 200
_PEER: Final = struct.Struct("3i")
"""Process, user and group at the other end, see unix(7)."""


def main(load: Callable[[], Work], descriptor: int) -> None:
    """Be a nursery until all have closed the door. load: what helpers do; not called before it is wanted."""
    starter = os.getppid()
    confine.close_descriptors_but({0, 1, 2, descriptor})
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Whoever stops all of a service's processes at once means the workers, which need us until they have finished.
        signal.signal(number, signal.SIG_IGN)
    confine.inherit_orphans()
    allocator.give_back()
    with socket.socket(fileno=descriptor) as door:
        _Nursery(door, load, starter, _tried_out(starter)).run()


def _tried_out(starter: int) -> tuple[str, ...]:
    """What helpers will lack: found in a process that is given up, as we confine ourselves only once we are needed."""

    def missing() -> Iterable[str]:
        _load(("landlock", "pyseccomp"))
        return _boxed(starter)

    return _found_by_another(missing) or ()


def _found_by_another(find: Callable[[], Iterable[str]]) -> tuple[str, ...] | None:
    """Lines that a process of its own finds, which may take from itself what we still need. None if it failed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        status = 70
        try:
            os.write(writer, "\n".join(find()).encode()[:_MOST_FOUND])
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as pipe:  # noqa: PTH123 - a descriptor
        found = tuple(pipe.read().splitlines())
    return found if os.waitpid(pid, 0)[1] == 0 else None


def _confined(starter: int) -> tuple[str, ...]:
    """Take from ourselves what helpers are not to have; what cannot be taken."""
    missing = confine.no_network()
    confine.leave_root()
    confine.no_new_privileges()
    return missing + confine.filter_system_calls((-1, starter, os.getpid()))


def _boxed(starter: int) -> tuple[str, ...]:
    """Be as confined as a helper is; what cannot be had of it."""
    return _confined(starter) + confine.files(_program_files()).only(Path("/usr"))


def _load_ahead(starter: int) -> None:
    """Load what most helpers will want, since they share it; of what few want, only what they could not read."""
    _load(_AHEAD)
    late = (*_LATE, *(f"encodings.{each.name}" for each in pkgutil.iter_modules(encodings.__path__)))

    def unreadable() -> list[str]:
        before = {*sys.modules}
        _load(late)
        wanted = [name for name in sys.modules if name not in before]
        _boxed(starter)
        return [name for name in wanted if not _readable(name)]

    found = _found_by_another(unreadable)
    _load(late if found is None else found)


def _readable(name: str) -> bool:
    """Whether we can read the file of a module that is loaded."""
    file = getattr(sys.modules[name], "__file__", None)
    try:
        if file is not None:
            Path(file).open("rb").close()
    except OSError:
        return False
    return True


def _load(modules: Iterable[str]) -> None:
    for module in modules:
        with suppress(ImportError, RuntimeError, LookupError, OSError):
            importlib.import_module(module)


@dataclass(slots=True)
class _Worker:
    """Whom helpers work for."""

    channel: socket.socket
    pid: int
    helpers: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Nursery:
    door: socket.socket
    load: Callable[[], Work]
    starter: int
    missing: tuple[str, ...]
    work: Work | None = None
    """What there is once it was needed."""
    own_network: bool = False
    files: confine.Files = field(init=False)
    protected: frozenset[int] = frozenset()
    """Workers that helpers will not be able to signal, beside whom we cannot signal ourselves."""
    protect: Callable[[], None] = field(init=False)
    workers: list[_Worker] = field(default_factory=list)
    watched: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self) -> None:
        """Let workers in, fork and bury until nobody is left who could ask for it."""
        self.watched.register(self.door, selectors.EVENT_READ)
        while self.watched.get_map():
            for key, _ in self.watched.select():
                # A worker that was killed meanwhile has nobody left who would want to know.
                with suppress(BrokenPipeError, ConnectionResetError):
                    if key.data is None:
                        self._let_in()
                    else:
                        self._serve(key.data)

    def _let_in(self) -> None:
        packet = wire.receive(self.door)
        if packet is None:
            self.watched.unregister(self.door)
            return
        (descriptor,) = packet[1]
        channel = socket.socket(fileno=descriptor)
        peer = _PEER.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        worker = _Worker(channel, peer[0])
        self.workers.append(worker)
        self.watched.register(channel, selectors.EVENT_READ, worker)
        wire.send(channel, {"ready": list(self.missing)})

    def _serve(self, worker: _Worker) -> None:
        try:
            packet = wire.receive(worker.channel)
        except (ConnectionResetError, wire.NonsenseError):
            packet = None
        if packet is None:
            self._see_off(worker)
            return
        values, descriptors = packet
        try:
            if values["do"] == "fork":
                wire.send(worker.channel, {"pid": self._fork(worker, values["settings"], *descriptors)})
            else:
                worker.helpers.discard(values["pid"])
                self._bury()
                wire.send(worker.channel, {"ended": values["pid"]})
        except OSError as error:
            wire.send(worker.channel, {"error": str(error)[:_SHOWN]})
        finally:
            wire.close_all(descriptors)

    def _be_ready(self) -> Work:
        """Load, and have no way back to what helpers must not have."""
        if self.work is None:
            work = self.load()
            _load_ahead(self.starter)
            before = _NETWORK.stat().st_ino
            _confined(self.starter)
            self.own_network = _NETWORK.stat().st_ino != before
            self.files = confine.files(_program_files())
            self.work = work
            self._protect_workers()
            allocator.loaded()
        return self.work

    def _protect_workers(self) -> None:
        """Have the filter for those that there are now. There is at least the one that wants a helper."""
        workers = frozenset(each.pid for each in self.workers)
        if workers != self.protected:
            self.protected, self.protect = workers, confine.signal_filter(tuple(workers))

    def _see_off(self, worker: _Worker) -> None:
        """It is gone, and so has to be whoever works for it."""
        self.watched.unregister(worker.channel)
        worker.channel.close()
        self.workers.remove(worker)
        self._bury()

    def _bury(self) -> None:
        """Kill every helper that nobody has any more, and all that it left behind."""
        confine.kill_children_but({pid for worker in self.workers for pid in worker.helpers})

    def _fork(self, worker: _Worker, settings: dict[str, int], job_socket: int, directory: int) -> int:
        work = self._be_ready()
        self._protect_workers()
        nursery, tasks = os.getpid(), confine.tasks_of(os.getuid())
        pid = os.fork()
        if pid:
            worker.helpers.add(pid)
            return pid
        status = 70
        try:
            confine.die_with_parent(nursery)
            os.fchdir(directory)
            confine.close_descriptors_but({0, 1, 2, job_socket})
            confine.limit_resources(**settings, tasks=tasks)
            self.protect()
            self._see_nothing_but(Path())
            with socket.socket(fileno=job_socket) as channel:
                work(channel, lambda: measures(self.own_network, settings["memory"]))
            status = 0
        except BaseException as error:
            print(f"a helper that opens containers failed: {told(error)}", file=sys.stderr)  # noqa: T201 - its log
        finally:
            os._exit(status)  # never return into the nursery's frames

    def _see_nothing_but(self, working: Path) -> None:
        """Only this directory, and programs. Raises OSError if that fails, and not for what is missing here anyway."""
        unforeseen = {*self.files.only(working)} - {*self.missing}
        if unforeseen:
            raise OSError(f"not confined as it should be: {', '.join(unforeseen)}")


def _program_files() -> Iterator[Path]:
    """Where Python and what it imports lie."""
    yield Path(contentfilter.__file__).parent
    for entry in (sys.prefix, sys.base_prefix):
        yield from (Path(entry, "lib"), Path(entry, "bin"))
    yield from (Path(entry) for entry in sys.path if entry.endswith("-packages"))


def start() -> None:
    """What is started as ``python -m contentfilter.unpack.forker DESCRIPTOR``."""

    def load() -> Work:
        from contentfilter.unpack import helper  # noqa: PLC0415 - not before it is wanted

        return helper.ours()

    main(load, int(sys.argv[1]))


if __name__ == "__main__":
    start()
