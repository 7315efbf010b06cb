"""The bytes of a message: kept exactly, in memory and in a file."""

from __future__ import annotations

import errno
import mmap
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contentfilter.errors import SpoolError
from contentfilter.message import HeaderEdits, Message, Replacement, Spool, memory_file


def open_files() -> set[Path]:
    """The descriptors of this process."""
    return set(Path("/proc/self/fd").iterdir())


def spooled(chunks: list[bytes], directory: Path, threshold: int, *, flush_every: int = 1000) -> Message:
    spool = Spool(directory, threshold)
    for number, chunk in enumerate(chunks, 1):
        spool.write(chunk)
        if number % flush_every == 0:
            spool.flush()
    return spool.finish()


BYTES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"\x00", b"\xff", b"text", b""]), max_size=30)


@given(BYTES, st.sampled_from([0, 5, 1000]), st.sampled_from([1, 2, 5, 1000]))
@example([b"a\r", b"\nb\n", b"\r", b"\r", b"\n"], 0, 1)
@example([b"a\r", b"", b"\n"], 1000, 1)
@example([b"\n"], 0, 1000)
def test_only_a_bare_lf_changes(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], threshold: int, flush_every: int
) -> None:
    directory = tmp_path_factory.getbasetemp()
    raw = b"".join(chunks)
    with spooled(chunks, directory, threshold, flush_every=flush_every) as message:
        assert message.buffer[:] == re.sub(rb"(?<!\r)\n", b"\r\n", raw)
        assert len(message) == len(message.buffer)


def test_a_large_message_lies_in_a_file_without_a_name(tmp_path: Path) -> None:
    with spooled([b"x" * 600, b"y" * 600], tmp_path, 1000) as message:
        assert isinstance(message.buffer, mmap.mmap)
        assert list(tmp_path.iterdir()) == []
        assert os.pread(message.descriptor(), 2000, 0) == b"x" * 600 + b"y" * 600


def test_a_small_message_has_a_descriptor_too() -> None:
    with Message(b"small") as message:
        assert os.pread(message.descriptor(), 100, 0) == b"small"
        assert message.descriptor() == message.descriptor()


def test_a_closed_message_leaves_no_descriptor(tmp_path: Path) -> None:
    before = open_files()
    for threshold in (0, 1000):
        message = spooled([b"x" * 100], tmp_path, threshold)
        message.descriptor()
        assert b"".join(bytes(piece) for piece in message.edited(HeaderEdits(b"A: b\r\n"))) == b"A: b\r\n" + b"x" * 100
        message.close()
        message.close()
    abandoned = Spool(tmp_path, 0)
    abandoned.write(b"x")
    abandoned.abandon()
    assert open_files() == before


def test_a_spool_is_behind_only_once_there_is_much_for_the_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.write(b"x" * 999)
    assert not spool.in_file
    assert not spool.behind
    spool.write(b"x" * (1 << 20))
    assert spool.behind
    spool.flush()
    assert not spool.behind
    spool.abandon()


def test_what_is_abandoned_while_it_is_flushed_keeps_its_file_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_files()
    writing, go_on = threading.Event(), threading.Event()
    real = os.write

    def slow(descriptor: int, data: bytes) -> int:
        writing.set()
        assert go_on.wait(10)
        return real(descriptor, data)  # EBADF, or into somebody else's file, if it had been closed meanwhile

    spool = Spool(tmp_path, 0)
    spool.write(b"x" * 10)
    monkeypatch.setattr(os, "write", slow)
    with ThreadPoolExecutor() as threads:
        flushing = threads.submit(spool.flush)
        assert writing.wait(10)
        abandoning = threads.submit(spool.abandon)
        go_on.set()
        flushing.result()
        abandoning.result()
    monkeypatch.undo()
    spool.flush()  # comes too late, and makes no file any more
    assert open_files() == before


def test_without_o_tmpfile_the_name_is_gone_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, flags: int, *rest: object, **more: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return real(path, flags, *rest, **more)  # type: ignore[arg-type]  # handed on as given

    real = os.open
    monkeypatch.setattr(os, "open", refuse)
    with spooled([b"x" * 10], tmp_path, 1) as message:
        assert list(tmp_path.iterdir()) == []
        assert message.buffer[:] == b"x" * 10


@pytest.mark.parametrize("step", ["open", "write", "mmap"])
def test_a_full_disk_is_a_temporary_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = open_files()
    spool = Spool(tmp_path, 1)
    monkeypatch.setattr(mmap if step == "mmap" else os, step, fail)

    def fill() -> None:
        spool.write(b"xx")
        spool.finish()

    with pytest.raises(SpoolError) as caught:
        fill()
    assert caught.value.reply.temporary
    monkeypatch.undo()
    spool.abandon()
    assert open_files() == before


def test_memory_file_does_not_leak_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_files()

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(SpoolError):
        memory_file(b"x")
    monkeypatch.undo()
    assert open_files() == before


def test_edits() -> None:
    raw = b"A: 1\r\nB: 2\r\nC: 3\r\n\r\nbody"
    edits = HeaderEdits(b"Top: x\r\n", (Replacement(15, 15, b"T "), Replacement(0, 6), Replacement(12, 12)))
    with Message(raw) as message:
        assert b"".join(bytes(piece) for piece in message.edited(edits)) == b"Top: x\r\nB: 2\r\nC: T 3\r\n\r\nbody"


def test_a_message_at_rest_takes_no_memory_and_is_the_same(tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 8
    with spooled([content], tmp_path, 0) as message:
        whole = len(message.buffer[:])
        before = _resident_files()
        message.rest()
        assert before - _resident_files() > whole - (1 << 20)
        assert message.buffer[:] == content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def test_a_message_in_memory_rests_as_it_is() -> None:
    with Message(b"content") as message:
        message.rest()
        assert message.buffer == b"content"


def _resident_files() -> int:
    """Bytes of files that are in our memory (RssFile and RssShmem of proc(5))."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE
