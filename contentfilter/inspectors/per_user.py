"""A scan of one message for each user whose preferences count, at whichever address of a spam scanner serves.

What several spam scanners have in common: one scan a user, some at a time, all within one timeout; what one address
could not tell of some users the next one is asked; and one user's failure is that user's alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic

from contentfilter.errors import InspectorError, InspectorTimeoutError, NotInspectedError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors.backends import B, Backends

MOST_USERS: Final = 100
"""Scans of one message; who writes to a thousand users at once does not keep a scanner busy for a thousand scans."""

Found = tuple[Finding, ...]
Scan = Callable[[B, str], Awaitable[Found]]
"""What one scanner says by one user's preferences. Raises InspectorError."""

_NOT_ASKED: Final = InspectorError("nobody was asked")
_TOO_MANY: Final = InspectorError(f"too many users: a message is scanned for {MOST_USERS} at most")


class ScansPerUser(Generic[B]):
    """The scans of an inspector.

    name: the inspector's; concurrency: scans of one message at a time; timeout: seconds for all of them at one address.
    """

    def __init__(self, name: str, servers: Backends[B], *, concurrency: int, timeout: float) -> None:
        self._name = name
        self._servers = servers
        self._concurrency = concurrency
        self._timeout = timeout

    async def findings(self, users: Sequence[str], scan: Scan[B]) -> Found:
        """The findings for each of the users, in their order, once for each.

        Where a user's scan failed, did not end in time, or is one too many, the finding is a FAILURE. That of the user
        "" reads like a failure of the whole inspector: too careful, never careless.

        Raises InspectorError when no scan at all gave an answer.
        """
        asked = tuple(dict.fromkeys(users))
        # The user "" is usually that of most recipients: it is never the one too many.
        outcomes: dict[str, Found | InspectorError] = dict.fromkeys(sorted(asked, key=bool)[:MOST_USERS], _NOT_ASKED)
        try:
            await self._servers.ask(lambda server: self._fill_in(server, scan, outcomes))
        except InspectorError:
            if all(isinstance(outcome, InspectorError) for outcome in outcomes.values()):
                raise
        return tuple(one for user in asked for one in self._told(user, outcomes.get(user, _TOO_MANY)))

    async def _fill_in(self, server: B, scan: Scan[B], outcomes: dict[str, Found | InspectorError]) -> bool:
        """Have this scanner give the answers that are still missing. Raises InspectorError if some are missing then."""
        missing = [user for user, outcome in outcomes.items() if isinstance(outcome, InspectorError)]
        got = await self._scans(server, scan, missing)
        outcomes.update(got)
        failures = [outcome for outcome in got.values() if isinstance(outcome, InspectorError)]
        if failures and len(failures) < len(got):
            raise NotInspectedError(str(failures[0]))  # it does answer
        if failures:
            raise next((one for one in failures if not isinstance(one, NotInspectedError)), failures[0])
        return True

    async def _scans(self, server: B, scan: Scan[B], users: Sequence[str]) -> dict[str, Found | InspectorError]:
        gate = asyncio.Semaphore(self._concurrency)
        deadline = asyncio.get_running_loop().time() + self._timeout

        async def outcome(user: str) -> Found | InspectorError:
            """The failure is given, not raised: a TaskGroup would cancel the other scans for it."""
            try:
                async with asyncio.timeout_at(deadline), gate:
                    return await scan(server, user)
            except TimeoutError:
                return InspectorTimeoutError(f"{server.label} did not answer in time")
            except InspectorError as error:
                return error

        if len(users) == 1:
            return {users[0]: await outcome(users[0])}
        async with asyncio.TaskGroup() as group:
            tasks = {user: group.create_task(outcome(user)) for user in users}
        return {user: task.result() for user, task in tasks.items()}

    def _told(self, user: str, outcome: Found | InspectorError) -> Found:
        if isinstance(outcome, InspectorError):
            return (Finding(Kind.FAILURE, self._name, str(outcome), user=user),)
        return outcome
