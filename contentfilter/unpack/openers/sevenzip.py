"""What only 7z reads. It runs as a program of its own, under the limits of the helper that starts it.

Everything it gets from the message is a descriptor and a password; it is never asked about names. What it extracts
lies in the helper's own directory, where only regular files are opened, and no link is followed.
"""

from __future__ import annotations

import os
import selectors
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import olefile

from contentfilter.unpack.opener import EncryptedError, Kind, NotThisError, Sink, UnpackError
from contentfilter.unpack.openers.common import CHUNK, give, mapped, readable, translated

TIMEOUT = 20.0
"""Seconds that one run may take; the helper as a whole has its own limit above it."""

DISK_LIMIT = 512 * 1024 * 1024
"""Bytes that one run may leave in the directory before it is stopped."""

PASSWORD_LIMIT = 10
"""Passwords tried on one archive: each is a run of its own."""

_POLL = 0.05
_LIST_LIMIT = 8 * 1024 * 1024

MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"MSCF", "cab"),
    (0, b"\x60\xea", "arj"),
    (2, b"-lh", "lzh"),
    (2, b"-lz", "lzh"),
    (0, b"ITSF\x03\x00\x00\x00", "chm"),
    (0, b"ITOLITLS\x01\x00\x00\x00", "hxs"),
    (0, b"SZDD\x88\xf0\x27\x33A", "mslz"),
    (0, b"MSWIM\x00\x00\x00", "wim"),
    (0, b"conectix\x00\x00", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"KDMV", "vmdk"),
    (0, b"QFI\xfb\x00\x00\x00", "qcow"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"hsqs", "squashfs"),
    (0, b"sqsh", "squashfs"),
    (16, b"Compressed ROMFS", "cramfs"),
    (3, b"NTFS    ", "ntfs"),
    (32769, b"CD001", "iso"),
    (1080, b"\x53\xef", "ext"),
    (512, b"EFI PART", "gpt"),
    (1024, b"H+\x00\x04", "hfs"),
    (1024, b"HX\x00\x05", "hfs"),
    (32, b"NXSB", "apfs"),
    (0, b"xar!", "xar"),
    (0, b"\xed\xab\xee\xdb", "rpm"),
    (0, b"\x1f\x9d", "z"),
)
"""(offset, bytes, 7z's name of the type). Types that libarchive reads too stand here for what it cannot: cab with
Quantum, old lzh methods, encrypted 7z."""


_LAYERED = frozenset({"vhd", "vhdx", "vmdk", "qcow", "vdi", "dmg", "gpt", "mbr"})


class SevenZip:
    """arj, chm, SZDD, wim, disk images and file systems, and what libarchive gave up."""

    name = "7z"
    exclusive = True

    def accepts(self, kind: Kind) -> bool:
        """Whether its marks are those of a type that we let 7z read."""
        return self._type(kind) is not None and program() is not None

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the members. Raises NotThisError, EncryptedError, UnpackError."""
        type_name = self._type(kind)
        if type_name is None:
            raise NotThisError("nothing that 7z reads")
        extract(file.fileno(), type_name, sink)

    @staticmethod
    def _type(kind: Kind) -> str | None:
        for offset, mark, type_name in MARKS:
            if kind.head[offset : offset + len(mark)] == mark:
                return type_name
        if kind.tail[-512:].startswith(b"koly\x00\x00\x00\x04"):
            return "dmg"
        if kind.tail[-512:].startswith(b"conectix"):
            return "vhd"
        boot_sector = kind.head[510:512] == b"\x55\xaa"
        if boot_sector and kind.head[0:1] in {b"\xeb", b"\xe9"} and b"FAT" in kind.head[:100]:
            return "fat"
        return "mbr" if boot_sector and not kind.head.startswith(b"MZ") else None


class Udf:
    """The UDF half of an image: Windows prefers it to the ISO 9660 half, which may hold other files."""

    name = "7z-udf"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether a volume recognition sequence (ECMA-167 part 2) says so."""
        return any(mark in kind.head[32768:] for mark in (b"NSR02", b"NSR03")) and program() is not None

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the files. Raises EncryptedError, UnpackError."""
        extract(file.fileno(), "udf", sink)


class Installer:
    """Windows programs that carry an archive in a way only 7z follows: NSIS."""

    name = "7z-installer"
    exclusive = True
    mark = b"\xef\xbe\xad\xdeNullsoftInst"

    def accepts(self, kind: Kind) -> bool:
        """Any Windows program; only with the mark of NSIS it is opened."""
        return kind.head.startswith(b"MZ") and program() is not None

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the members. Raises NotThisError, UnpackError."""
        with mapped(file) as content:
            if content.find(self.mark) < 0:
                raise NotThisError("no installer")
        extract(file.fileno(), "nsis", sink)


class Msi:
    """Windows Installer packages: compound files with a database and, mostly, a cabinet."""

    name = "7z-msi"
    exclusive = True
    classes = frozenset({"000C1084", "000C1086", "000C1082"})
    """How the class identifiers of packages, patches and transforms begin."""

    def accepts(self, kind: Kind) -> bool:
        """Any compound file; which of them are installers their root entry says."""
        return kind.head.startswith(b"\xd0\xcf\x11\xe0") and program() is not None

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the streams as files. Raises NotThisError, UnpackError."""
        with translated("compound file"), olefile.OleFileIO(file) as compound:
            identifier = str(compound.root.clsid)[:8]
        if identifier not in self.classes:
            raise NotThisError("no installer")
        extract(file.fileno(), "compound", sink)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a run ended: its exit status, 0 or 1 if all was extracted, and the first words of what it complained of."""

    code: int
    message: str

    @property
    def locked(self) -> bool:
        return self.code > 1 and "rong password" in self.message


@cache
def program() -> str | None:
    """The 7z that is installed: the name differs between releases of Debian."""
    return shutil.which("7zz") or shutil.which("7z")


def extract(descriptor: int, type_name: str, sink: Sink) -> None:
    """Extract an open file into the sink's directory, with each password in turn if need be, and give what is there."""
    target = sink.directory / "extracted"
    passwords = ["", *(word for word in sink.passwords if word and "\0" not in word)][: PASSWORD_LIMIT + 1]
    outcome = _Outcome(0, "")
    for password in passwords:
        shutil.rmtree(target, ignore_errors=True)
        outcome = _extract_once(descriptor, type_name, password, target)
        if not outcome.locked:
            break
    locked = _locked_names(descriptor, type_name, target.parent) if outcome.code > 1 else []
    try:
        given = _give_files(target, set(locked), sink) if target.is_dir() else 0
    finally:
        shutil.rmtree(target, ignore_errors=True)
    for name in locked:
        sink.listed(readable(name, "unnamed"), "encrypted")
    if outcome.locked and not locked:
        raise EncryptedError(outcome.message)
    if outcome.code and not locked:
        if not given:
            raise UnpackError(outcome.message)
        sink.trouble(f"damaged: {outcome.message}")


def is_whole(descriptor: int, type_name: str, directory: Path) -> bool:
    """Whether an archive that is not encrypted can be read to its end, and all checksums are right."""
    with _process(["t", "-bso0", *_options(type_name, "")], directory, descriptor) as (process, _):
        try:
            return process.wait(TIMEOUT) == 0
        except subprocess.TimeoutExpired:
            return False


def _give_files(target: Path, without: set[str], sink: Sink) -> int:
    """Give what was extracted; of links and devices only the name. The number of files."""
    given = 0
    for top, directories, names, descriptor in os.fwalk(target, follow_symlinks=False):
        inside = os.path.relpath(top, target)
        for name in sorted((*names, *directories)):
            path = name if inside == "." else f"{inside}/{name}"
            mode = os.lstat(name, dir_fd=descriptor).st_mode
            if stat.S_ISREG(mode) and path not in without:
                given += 1
                give(sink, readable(path, "unnamed"), _file(name, descriptor))
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                sink.listed(readable(path, "unnamed"), "link" if stat.S_ISLNK(mode) else "device")
    return given


def _file(name: str, directory: int) -> Iterator[bytes]:
    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    with os.fdopen(opened, "rb", buffering=0) as file:
        while piece := file.read(CHUNK):
            yield piece


def _extract_once(descriptor: int, type_name: str, password: str, target: Path) -> _Outcome:
    """One run. It is stopped when it takes too long or fills the disk; what it has made until then counts."""
    command = ["x", "-y", "-aou", "-snl-", "-snh-", "-bso0", f"-o{target}", *_options(type_name, password)]
    with _process(command, target.parent, descriptor) as (process, complaints):
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                return _Outcome(process.wait(_POLL), _first_words(complaints))
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    return _Outcome(-1, "7z took too long")
                if _disk_use(target) > DISK_LIMIT:
                    return _Outcome(-1, "7z filled the disk")


def _options(type_name: str, password: str) -> list[str]:
    """A password is always given, if only an empty one: else 7z would ask. Disk images it opens down to their files."""
    types = [] if type_name in _LAYERED else [f"-t{type_name}"]
    return [*types, f"-p{password}", "-mmt1", "-bd", "-bsp0", "-bse2"]


@contextmanager
def _process(
    arguments: list[str], directory: Path, descriptor: int, *, output: int = subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """A 7z that runs on an open file, and the file of its complaints. It does not outlive the block.

    It is given no other path: what it makes an absolute one it may not be able to reach.
    """
    command = program()
    if command is None:
        raise UnpackError("7z is not installed")
    with tempfile.TemporaryFile(dir=directory) as complaints:
        process = subprocess.Popen(  # noqa: S603 - no shell; the arguments are ours
            [command, *arguments, "--", f"/proc/self/fd/{descriptor}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            cwd=directory,
            pass_fds=(descriptor,),
            env={"LC_ALL": "C.UTF-8", "TMPDIR": str(directory)},
        )
        with process:
            try:
                yield process, complaints
            finally:
                process.kill()


def _first_words(complaints: BinaryIO) -> str:
    complaints.seek(0)
    lines = complaints.read(8192).decode(errors="replace").splitlines()
    told = [line.strip() for line in lines if line.strip() and line[:2] != "--" and "/proc/self/fd" not in line]
    return readable("; ".join(told)[:300], "7z failed")


def _disk_use(target: Path) -> int:
    total = 0
    with suppress(FileNotFoundError):  # 7z is at work there
        for _, _, names, descriptor in os.fwalk(target, follow_symlinks=False):
            for name in names:
                total += os.lstat(name, dir_fd=descriptor).st_size
    return total


def _locked_names(descriptor: int, type_name: str, directory: Path) -> list[str]:
    """The names of the encrypted members, if the names are not encrypted too."""
    command = ["l", "-slt", "-ba", *_options(type_name, "")]
    with _process(command, directory, descriptor, output=subprocess.PIPE) as (process, _):
        listing = b"".join(_output(process, _LIST_LIMIT))
    names, name = [], ""
    for line in listing.decode(errors="replace").splitlines():
        key, _, value = line.partition(" = ")
        if key == "Path":
            name = value
        elif key == "Encrypted" and value == "+":
            names.append(name)
    return names


def stream(descriptor: int, password: str, directory: Path) -> Iterator[bytes]:
    """The content of a zip of one entry. Raises UnpackError if 7z cannot read it, or not with this password."""
    command = ["x", "-so", *_options("zip", password)]
    with _process(command, directory, descriptor, output=subprocess.PIPE) as (process, complaints):
        yield from _output(process)
        if process.wait(TIMEOUT) > 1:
            raise UnpackError(_first_words(complaints))


def _output(process: subprocess.Popen[bytes], limit: int | None = None) -> Iterator[bytes]:
    """What the process writes until it ends. Raises UnpackError when it is silent too long."""
    if process.stdout is None:
        return
    given = 0
    deadline = time.monotonic() + TIMEOUT
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while limit is None or given < limit:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise UnpackError("7z took too long")
            piece = os.read(process.stdout.fileno(), CHUNK)
            if not piece:
                return
            given += len(piece)
            yield piece
