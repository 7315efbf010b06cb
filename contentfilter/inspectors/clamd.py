"""ClamAV's clamd, which tells whether there is a virus in the message or in one of its parts.

The whole raw message is scanned, each decoded leaf, and each member of a container: clamd's own reading of MIME and of
archives is a second opinion on ours, and what it cannot decode or open it sees from us. Equal contents are scanned
once, under the path that comes first; what clamd has scanned a while ago it is not asked about again.

No answer is never "clean": a scan that clamd does not answer, wholly and by its number, makes the inspection fail. But
a virus found is a virus, whatever became of the other scans: then the findings are returned, the failure among them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from contentfilter.errors import InspectorError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Content, Subject
from contentfilter.inspectors.backends import Backends, Resting
from contentfilter.inspectors.clamd_server import IN_THREAD, NAME, ClamdServer, Item, Results
from contentfilter.inspectors.clamd_turns import Turns
from contentfilter.large_work import in_thread

EICAR: Final = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The text that every virus scanner takes for a virus. In two pieces, so that none takes this file for one."""

# clamd itself does not look at files of five bytes and less.
_SMALLEST: Final = 6
_PIECE: Final = 1 << 20


class ClamdInspector:
    """One clamd, or several in order of preference; one connection per message.

    addresses: "unix:/run/clamav/clamd.ctl" or "tcp:127.0.0.1:3310", one or more. connect_timeout: seconds to connect
    within; timeout: seconds for everything that is asked of one clamd for one message, connecting included, and again
    for waiting until something large may be scanned. large_scans: contents over 1 MB that are with one clamd at once.
    resting: when an address is not asked; cache: results that are kept for each address, 0 for none; clock: seconds.

    Over TCP a message larger than clamd's StreamMaxLength is an error, not a result. Over a Unix socket clamd calls a
    file above its MaxFileSize "OK" without reading it unless AlertExceedsMax is on; `conf/clamav/` sets it.
    Raises ValueError for an address that is none.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        connect_timeout: float = 10.0,
        timeout: float = 120.0,
        resting: Resting | None = None,
        cache: int = 8192,
        large_scans: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        servers = [
            ClamdServer(
                one,
                connect_timeout=connect_timeout,
                timeout=timeout,
                cache=cache,
                turns=Turns(large_scans, timeout),
                clock=clock,
            )
            for one in ([addresses] if isinstance(addresses, str) else addresses)
        ]
        self._servers = Backends(servers, resting, clock)
        self._digests = cache > 0

    @property
    def name(self) -> str:
        """The name in findings and logs."""
        return NAME

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """Scan the message and its leaves. Raises InspectorError unless all was scanned or a virus was found.

        A leaf whose bytes equal those of an earlier one is not reported a second time.
        """
        results = Results()
        items = await self._items(subject)
        try:
            # Whoever has found a virus need not be asked for a second opinion, whatever else went wrong.
            await self._servers.ask(lambda server: server.scan(items, results, subject.pause), lambda: results.infected)
        except InspectorError as error:
            if not results.infected:
                raise
            return (*results.in_order(items), Finding(Kind.FAILURE, NAME, str(error)))
        return results.in_order(items)

    async def _items(self, subject: Subject) -> Sequence[Item]:
        digested = len(subject.message) + sum(each.size for each in subject.contents)
        if digested > IN_THREAD:
            return await in_thread(lambda: list(_items(subject, all_digests=self._digests)))
        return list(_items(subject, all_digests=self._digests))

    @property
    def looks_inside(self) -> bool:
        """Whether containers have to be open: clamd is shown what is in them."""
        return True

    async def answers(self) -> bool:
        """Whether any clamd scans a few bytes within seconds: PING it answers also with all its threads taken."""
        return await self._servers.answers(ClamdServer.probe)

    async def ping(self) -> None:
        """Ask whether a clamd is there. Raises InspectorError if none answers as it should."""

        async def pinged(server: ClamdServer) -> bool:
            await server.ping()
            return True

        await self._servers.ask(pinged)

    async def version(self) -> str:
        """What clamd and its database call themselves. Raises InspectorError."""
        told = ""

        async def asked(server: ClamdServer) -> bool:
            nonlocal told
            told = await server.version()
            return True

        await self._servers.ask(asked)
        return told

    async def scan_bytes(self, content: bytes) -> str:
        """The name of what clamd finds in the content, "" if nothing. For probes. Raises InspectorError."""
        results = Results()
        digest = hashlib.sha256(content).digest() if self._digests else b""
        items = [Item("", len(content), lambda: content, digest=digest)]
        await self._servers.ask(lambda server: server.scan(items, results))
        return next((finding.name for finding in results.in_order(items)), "")


def _items(subject: Subject, *, all_digests: bool) -> Iterator[Item]:
    """The message, its leaves, what was in them; what was given before, or is next to empty, is left out."""
    message = subject.message
    contents = [each for each in subject.contents if each.size >= _SMALLEST]
    # Only contents of equal size can be equal: where nothing is kept the others, large ones above all, need no digest.
    sizes = [len(message), *(each.size for each in contents)]
    alike = set(sizes) if all_digests else {size for size, number in Counter(sizes).items() if number > 1}
    whole = bytes.fromhex(message.digest) if len(message) in alike else b""
    yield Item("", len(message), lambda: message.buffer, message.descriptor, whole)
    seen = {whole}
    for each in contents:
        digest = b""
        if each.size in alike:
            digest = _digest(each)
            if digest in seen:
                continue
            seen.add(digest)
        yield Item(each.path, each.size, each.content, partial(getattr, each, "descriptor"), digest)


def _digest(content: Content) -> bytes:
    """SHA-256. What has a file of its own is large, and not taken into memory for it."""
    if content.descriptor is None:
        return hashlib.sha256(content.content()).digest()
    hashing = hashlib.sha256()
    for offset in range(0, content.size, _PIECE):
        hashing.update(os.pread(content.descriptor, _PIECE, offset))
    return hashing.digest()
