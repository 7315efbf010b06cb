from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from contentfilter.inspectors.channel import Address, Channel
from contentfilter.message import memory_file

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def runner(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(asyncio.wait_for(coroutine, 30))

    return runner


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


def receive_all(peer: socket.socket) -> tuple[bytes, list[int]]:
    """Everything up to the end, and the descriptors that came with it."""
    data, descriptors = b"", []
    while True:
        piece, passed, _, _ = socket.recv_fds(peer, 1 << 16, 10)
        descriptors += passed
        if not piece:
            return data, descriptors
        data += piece


def fill(connection: socket.socket) -> int:
    """Send until the socket takes no more; how much that was."""
    sent = 0
    while True:
        try:
            sent += connection.send(bytes(1000))
        except BlockingIOError:
            return sent


def test_a_short_send_passes_the_descriptor_once_and_all_of_the_data(run: Run) -> None:
    data = os.urandom(3_000_000)

    async def dialog() -> None:
        ours, theirs = pair()
        descriptor = memory_file(b"the content")
        with theirs, Channel(ours) as channel:
            received = asyncio.create_task(asyncio.to_thread(receive_all, theirs))
            await channel.send_descriptor(data, descriptor)
            os.close(descriptor)
            channel.end_sending()
            got, passed = await received
        assert got == data
        assert len(passed) == 1
        assert os.pread(passed[0], 100, 0) == b"the content"
        os.close(passed[0])

    run(dialog())


def test_a_full_socket_is_waited_for(run: Run) -> None:
    async def dialog() -> None:
        ours, theirs = pair()
        descriptor = memory_file(b"the content")
        with theirs, Channel(ours) as channel:
            before = fill(ours)
            sending = asyncio.create_task(channel.send_descriptor(b"zFILDES\0x", descriptor))
            await asyncio.sleep(0)
            assert not sending.done()
            received = asyncio.create_task(asyncio.to_thread(receive_all, theirs))
            await sending
            os.close(descriptor)
            channel.end_sending()
            got, passed = await received
        assert got == bytes(before) + b"zFILDES\0x"
        assert len(passed) == 1
        os.close(passed[0])

    run(dialog())


def test_waiting_can_be_given_up(run: Run) -> None:
    async def dialog() -> None:
        ours, theirs = pair()
        descriptor = memory_file(b"the content")
        with theirs, Channel(ours) as channel:
            fill(ours)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await channel.send_descriptor(b"zFILDES\0x", descriptor)
        os.close(descriptor)

    run(dialog())


def listener_with_full_queue(path: Path) -> tuple[socket.socket, list[socket.socket]]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(0)
    waiting = []
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        waiting.append(connection)
        try:
            connection.connect(str(path))
        except BlockingIOError:
            return listener, waiting


def test_a_full_queue_of_the_listener_is_waited_for(run: Run, tmp_path: Path) -> None:
    async def dialog() -> None:
        listener, waiting = listener_with_full_queue(tmp_path / "s")
        opening = asyncio.create_task(Channel.open(Address(path=str(tmp_path / "s")), 10))
        await asyncio.sleep(0)
        assert not opening.done()
        accepted = [listener.accept()[0] for _ in waiting[:-1]]
        with await opening as channel:
            accepted.append(listener.accept()[0])
            await channel.send(b"hello")
            assert accepted[-1].recv(10) == b"hello"
        for connection in (listener, *waiting, *accepted):
            connection.close()

    run(dialog())


def test_a_full_queue_is_not_waited_for_beyond_the_timeout(run: Run, tmp_path: Path) -> None:
    async def dialog() -> None:
        listener, waiting = listener_with_full_queue(tmp_path / "s")
        with pytest.raises(TimeoutError):
            await Channel.open(Address(path=str(tmp_path / "s")), 0.05)
        for connection in (listener, *waiting):
            connection.close()

    run(dialog())


@pytest.mark.parametrize("address", [Address(host="127.0.0.1", port=1), Address(path="/nonexistent")])
def test_nobody_there_is_an_os_error(run: Run, address: Address) -> None:
    async def dialog() -> None:
        with pytest.raises(OSError, match=r".+"):
            await Channel.open(address, 10)

    run(dialog())
