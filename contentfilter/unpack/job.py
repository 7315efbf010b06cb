"""One job of a helper, as the worker sees it: contents are handed over, and what is in them is taken."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from contentfilter.large_work import made_in_thread
from contentfilter.unpack import wire
from contentfilter.unpack.budget import Budget
from contentfilter.unpack.choice import Candidate
from contentfilter.unpack.collector import Collector
from contentfilter.unpack.nursery import receive, send
from contentfilter.unpack.store import Place, Store

IN_THREAD: Final = 262_144
"""Bytes from which a message is searched for what has to be opened, and that stored, in a thread."""
_TOGETHER: Final = 64
"""Packets that are taken before others get their turn."""


async def submit(
    channel: socket.socket, sources: Sequence[Candidate], size: int, passwords: tuple[str, ...], budget: Budget
) -> None:
    """Hand the contents over. Memory files: what the helper gets is a copy that it may do with as it likes.

    Raises OSError.
    """
    if size < IN_THREAD:
        store, listing = _stored(sources)
    else:
        store, listing = await made_in_thread(functools.partial(_stored, sources), lambda made: made[0].close())
    try:
        *full, last = store.files
        for descriptor in full:
            await send(channel, {"do": "take"}, (descriptor,))
        job = {"do": "open", "size": size, "passwords": passwords, "budget": _told(budget), "listing": _where(listing)}
        await send(channel, job, (last,))
    finally:
        store.close()


@functools.cache
def _told(budget: Budget) -> dict[str, Any]:
    return asdict(budget)


def _where(place: Place) -> dict[str, int]:
    return {"file": place.file, "offset": place.offset, "size": place.size}


def _stored(sources: Sequence[Candidate]) -> tuple[Store, Place]:
    """The contents, and where among them the list of them lies. Raises OSError."""
    store = Store()
    try:
        contents = []
        for source in sources:
            place = store.add(source.content())
            contents.append({**_where(place), "path": source.path, "names": source.names, "type": source.declared_type})
        return store, store.add(json.dumps(contents).encode("ascii"))
    except BaseException:
        store.close()
        raise


async def gather(channel: socket.socket, collector: Collector) -> None:
    """Take packets until the job is done. Raises NonsenseError, OSError if the helper is gone."""
    taken = 0
    while not collector.done:
        packet = await receive(channel)
        if packet is None:
            raise ConnectionResetError("no word from it")
        try:
            collector.take(*packet)
        except (KeyError, TypeError) as error:
            raise wire.NonsenseError("a packet without sense") from error
        taken += 1
        if taken % _TOGETHER == 0:
            await asyncio.sleep(0)
