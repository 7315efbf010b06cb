"""A worker process: the loop that serves the sockets until it is told to finish."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

import uvloop

from contentfilter import allocator, assembly
from contentfilter.board import Board, Place
from contentfilter.config import Config
from contentfilter.errors import InspectorError
from contentfilter.intake.capacity import Capacity
from contentfilter.intake.listener import Listener
from contentfilter.intake.service import Service
from contentfilter.slot import RETIRE
from contentfilter.unpack.box import Box

_BEAT_SECONDS = 1.0
_THREADS_TURN = 0.0005
"""Seconds after which a thread at work on a large message lets the event loop go on. Python's own 0.005 are spent again
for each thing that a small message waits for."""
_LATECOMERS_SECONDS = 10.0
"""How long clients that have just connected may take to begin with their message after others serve in our place."""


def run(
    config: Config, sockets: Sequence[socket.socket], ready: int, board: Board, place: Place, *, door: socket.socket
) -> None:
    """Serve until SIGTERM, then finish what is in hand; until RETIRE, then what has just come in as well.

    sockets: one for each of `[listen] addresses`, in their order; ready: a descriptor that gets a byte once we serve;
    board, place: where all workers, and where we, write down what is in work; door: of the nursery.
    """
    sys.setswitchinterval(_THREADS_TURN)
    allocator.give_back()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, sockets, ready, board, place, door=door))


async def _serve(
    config: Config, sockets: Sequence[socket.socket], ready: int, board: Board, place: Place, *, door: socket.socket
) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    told: list[signal.Signals] = []

    def hear(number: signal.Signals) -> None:
        told.append(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, RETIRE):
        loop.add_signal_handler(number, hear, number)
    heart = asyncio.create_task(_beat(place))
    routes = assembly.routes_for(config)
    box = assembly.box_for(config, door)
    preparing = asyncio.create_task(_prepare(box))
    retries, history = assembly.retries_for(config, place), assembly.history_for(config)
    pipeline = assembly.pipeline_for(config, routes, box, history, retries)
    service = Service(pipeline.handle, pipeline.admit, retries.turn, retries.unheard)
    capacity = Capacity(assembly.capacity_limits(config), board.totals, place.publish)
    listener = Listener(service, assembly.intake_settings(config), capacity)
    named = zip(sockets, config.listen.addresses, strict=True)
    serving = [asyncio.create_task(listener.serve(sock, name)) for sock, name in named]
    os.write(ready, b"r")
    os.close(ready)
    await stop.wait()
    await listener.drain(config.drain_timeout, _LATECOMERS_SECONDS if told[0] is RETIRE else 0.0)
    await asyncio.gather(*serving)
    await pipeline.close()
    if history is not None:
        await asyncio.to_thread(history.close)
    await box.close()
    await routes.close()
    retries.close()
    heart.cancel()
    preparing.cancel()


async def _prepare(box: Box) -> None:
    """Nobody has to wait for it, but what the box lacks is told at the start."""
    with suppress(InspectorError):  # the first message that needs a helper tries again, and waits if there is none
        await box.start()


async def _beat(place: Place) -> None:
    """As long as the loop turns."""
    while True:
        place.beat()
        await asyncio.sleep(_BEAT_SECONDS)
