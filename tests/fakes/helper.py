"""A helper that does as it is told: the first word of a content says what its opener does.

Run as a program, as the box does with the real one.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from contentfilter.unpack import forker, helper, wire
from contentfilter.unpack.opener import EncryptedError, Kind, NotThisError, Sink, UnpackError

COMMAND = (sys.executable, __file__)

_HELD: list[bytes] = []


class Toy:
    """Contents that begin with "do:" are containers; the rest of the line is what happens, with an argument."""

    name = "toy"
    exclusive = True

    def accepts(self, kind: Kind) -> bool:
        return kind.head.startswith(b"do:")

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        for line in file.read().decode().split("\n"):
            word, _, argument = line.removeprefix("do:").partition(" ")
            getattr(self, f"do_{word}")(argument, sink)

    def do_give(self, content: str, sink: Sink) -> None:
        with sink.member("given.txt") as writer:
            writer.write(content.replace("\\n", "\n").encode())

    def do_stream(self, content: str, sink: Sink) -> None:
        with sink.stream() as writer:
            writer.write(content.encode())

    def do_itself(self, times: str, sink: Sink) -> None:
        with sink.stream() as writer:
            writer.write(f"do:itself {times}".encode())

    def do_names(self, count: str, sink: Sink) -> None:
        """A member with so many long names, each character of which takes twelve in JSON."""
        with sink.member(*(f"{number}-{chr(0x1F600) * 1500}.txt" for number in range(int(count)))) as writer:
            writer.write(b"x")

    def do_large(self, size: str, sink: Sink) -> None:
        with sink.member("large.bin") as writer:
            for _ in range(int(size) // 100_000):
                writer.write(bytes(100_000))

    def do_many(self, count: str, sink: Sink) -> None:
        for number in range(int(count)):
            with sink.member(f"{number}.txt") as writer:
                writer.write(str(number).encode())

    def do_same(self, _: str, sink: Sink) -> None:
        with sink.member("same") as writer:
            writer.write(b"do:same ")

    def do_deeper(self, number: str, sink: Sink) -> None:
        with sink.member("deeper") as writer:
            writer.write(f"do:deeper {int(number) + 1}".encode())

    def do_listed(self, why: str, sink: Sink) -> None:
        sink.listed("secret.exe", why)

    def do_trouble(self, what: str, sink: Sink) -> None:
        sink.trouble(what)

    def do_raise(self, name: str, sink: Sink) -> None:
        raise {
            "encrypted": EncryptedError("no password fits"),
            "damaged": UnpackError("cut off"),
            "not": NotThisError("no"),
            "memory": MemoryError(),
        }.get(name, ValueError("a defect"))

    def do_passwords(self, _: str, sink: Sink) -> None:
        self.do_give(" ".join(sink.passwords), sink)

    def do_exit(self, status: str, sink: Sink) -> None:
        os._exit(int(status))

    def do_kill(self, number: str, sink: Sink) -> None:
        os.kill(os.getpid(), int(number))
        time.sleep(60)

    def do_crash(self, _: str, sink: Sink) -> None:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        ctypes.string_at(0)

    def do_pid(self, _: str, sink: Sink) -> None:
        self.do_give(str(os.getpid()), sink)

    def do_sleep(self, seconds: str, sink: Sink) -> None:
        time.sleep(float(seconds))

    def do_hang(self, _: str, sink: Sink) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        time.sleep(600)

    def do_allocate(self, size: str, sink: Sink) -> None:
        self.do_give(str(len(bytearray(int(size)))), sink)

    def do_hold(self, size: str, sink: Sink) -> None:
        """Take memory and never let it go."""
        _HELD.append(b"x" * int(size))

    def do_bomb(self, _: str, sink: Sink) -> None:
        """Every process forks two more, for as long as that works, in sessions of their own; then all sleep."""
        os.setsid() if os.getpid() != os.getsid(0) else None
        for _round in range(10):
            try:
                if os.fork() == 0:
                    os.setsid()
            except OSError:
                break
        time.sleep(600)

    def do_orphan(self, path: str, sink: Sink) -> None:
        """Leave a process behind, and say which."""
        pid = os.fork()
        if pid == 0:
            os.setsid()
            time.sleep(600)
            os._exit(0)
        self.do_give(str(pid), sink)

    def do_disk(self, size: str, sink: Sink) -> None:
        (sink.directory / "file").write_bytes(bytes(int(size)))
        self.do_give("written", sink)

    def do_try(self, what: str, sink: Sink) -> None:
        """Say what came of something forbidden."""
        action, _, argument = what.partition(" ")
        try:
            result = _TRIED[action](argument)
        except OSError as error:
            result = f"{action}: {type(error).__name__}"
        self.do_give(str(result), sink)

    def do_say(self, what: str, sink: Sink) -> None:
        """Send something to the worker that the protocol does not know."""
        channel = socket.socket(fileno=_job_socket())
        _SAID[what](channel)
        channel.detach()
        time.sleep(0.2)


def _job_socket() -> int:
    return next(number for number in _open_descriptors() if stat.S_ISSOCK(os.fstat(number).st_mode))


def _open_descriptors() -> Iterator[int]:
    for number in range(64):
        with suppress(OSError):
            os.fstat(number)
            yield number


def _names_without_end(channel: socket.socket) -> None:
    wire.send(channel, {"member": "1/1", "names": [], "file": 0, "offset": 0, "size": 0})
    for number in range(201):
        wire.send(channel, {"also": "1/1", "names": [str(number)]})
    wire.send(channel, {"done": True})


def _names_of_another(channel: socket.socket) -> None:
    wire.send(channel, {"member": "1/1", "names": ["a"]})
    wire.send(channel, {"member": "1/2", "names": ["b"]})
    wire.send(channel, {"also": "1/1", "names": ["c"]})
    wire.send(channel, {"done": True})


def _garbage(channel: socket.socket) -> None:
    channel.send(b"\xff\xfe garbage")


def _too_long(channel: socket.socket) -> None:
    channel.send(b"[" * 60_000)


def _member_of_nothing(channel: socket.socket) -> None:
    wire.send(channel, {"member": "7.7/1", "names": [], "file": 0, "offset": 0, "size": 1})


def _member_beyond(channel: socket.socket) -> None:
    descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    wire.send(channel, {"member": "1/1", "names": ["x"], "file": 0, "offset": 10, "size": 4000}, (descriptor,))
    wire.send(channel, {"done": True})


def _not_a_memory_file(channel: socket.socket) -> None:
    reader, _ = os.pipe()
    wire.send(channel, {"member": "1/1", "names": ["x"], "file": 0, "offset": 0, "size": 4}, (reader,))
    wire.send(channel, {"done": True})


def _flood_of_files(channel: socket.socket) -> None:
    reader, _ = os.pipe()
    for number in range(100_000):
        wire.send(channel, {"sign": "1", "name": str(number), "detail": ""}, (reader, reader, reader, reader))


def _flood(channel: socket.socket) -> None:
    for number in range(100_000):
        wire.send(channel, {"sign": "1", "name": str(number), "detail": "x"})


def _wrong_types(channel: socket.socket) -> None:
    wire.send(channel, {"member": ["1/1"], "names": "x", "file": "0", "size": -1})


_SAID = {
    "garbage": _garbage,
    "long": _too_long,
    "nothing": _member_of_nothing,
    "beyond": _member_beyond,
    "pipe": _not_a_memory_file,
    "files": _flood_of_files,
    "flood": _flood,
    "types": _wrong_types,
    "names": _names_without_end,
    "other names": _names_of_another,
}


def _signal(pid: str) -> str:
    os.kill(int(pid), 0)
    return "signalled"


def _import(name: str) -> str:
    """Whether it was there already, and where it comes from."""
    return f"{name in sys.modules} {importlib.import_module(name).__file__}"


def _connect(port: str) -> str:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
        return "connected"


_TRIED: dict[str, Callable[[str], str]] = {
    "connect": _connect,
    "import": _import,
    "socket": lambda _: f"made {socket.socket(socket.AF_UNIX).fileno()}",
    "read": lambda path: f"read {len(Path(path).read_bytes())}",
    "write": lambda path: f"wrote {Path(path).write_text('x')}",
    "list": lambda path: f"listed {len(list(Path(path).iterdir()))}",
    "signal": _signal,
    "user": lambda _: str(os.getuid()),
    "files": lambda _: " ".join(map(str, _open_descriptors())),
    "here": lambda _: " ".join(map(str, Path().iterdir())) or "empty",
    "privileges": lambda _: str(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 1),
}


def look(file: BinaryIO, kind: Kind) -> Iterator[object]:
    """No signs."""
    return iter(())


if __name__ == "__main__":
    forker.main(lambda: helper.work_with((Toy(),), look), int(sys.argv[1]))  # type: ignore[arg-type] # an iterator of nothing fits
