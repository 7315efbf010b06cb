"""Sends notices beside the journey: whether they arrive changes no reply, and nobody waits for them.

So many at a time and no more: under a flood of bad mail the mail comes first, and what is dropped is counted in a line
of the log now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from contentfilter import maillog
from contentfilter.envelope import Envelope
from contentfilter.notice import Notice
from contentfilter.routes import Way

MOST_PENDING = 100
AT_ONCE = 5
"""Notices that are sent at a time: the next hop's connections are for mail."""
PATIENCE = 60.0
"""Seconds for one notice, with the wait for its turn."""
LINE_SECONDS = 10.0
"""Seconds between two lines about what is dropped."""


class Notifier:
    """Takes notices and sends them in its own time. For one event loop."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._pending: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._dropped = 0
        """Notices of which the log does not tell yet."""
        self._first = ""
        """The id of the first message that they are about."""
        self._silence: asyncio.TimerHandle | None = None

    def post(self, mail_id: str, notices: Iterable[Notice]) -> None:
        """Have these sent. mail_id: of the message that they are about, for the log."""
        for notice in notices:
            if len(self._pending) >= MOST_PENDING:
                self._drop(mail_id)
                continue
            task = asyncio.get_running_loop().create_task(self._send(mail_id, notice))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def close(self) -> None:
        """Wait for what is pending; each has its own end."""
        await asyncio.gather(*self._pending)
        while self._silence is not None:  # twice where there is something left to tell
            self._silence.cancel()
            self._tell_dropped()

    def _drop(self, mail_id: str) -> None:
        self._first = self._first or mail_id
        self._dropped += 1
        if self._silence is None:
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        """Say what was dropped, if anything, and then nothing for a while."""
        self._silence = None
        if self._dropped:
            maillog.notices_dropped(self._first, self._dropped, MOST_PENDING)
            self._dropped, self._first = 0, ""
            self._silence = asyncio.get_running_loop().call_later(LINE_SECONDS, self._tell_dropped)

    async def _send(self, mail_id: str, notice: Notice) -> None:
        envelope = Envelope("", notice.recipients, smtputf8=notice.smtputf8)
        try:
            async with asyncio.timeout(PATIENCE), self._gate:
                answers = await self._way.send(
                    envelope, notice.recipients, lambda: iter((notice.content,)), len(notice.content)
                )
        except TimeoutError:
            maillog.not_notified(mail_id, _addresses(notice), f"not sent in {PATIENCE:g} s")
            return
        except Exception:
            maillog.unforeseen(mail_id, "sending a notice")
            return
        refused = [one for one, answer in zip(notice.recipients, answers, strict=True) if not answer.positive]
        if refused:
            why = next(str(answer) for answer in answers if not answer.positive)
            maillog.not_notified(mail_id, [one.address for one in refused], why)
        maillog.notified(mail_id, [one.address for one in notice.recipients if one not in refused])


def _addresses(notice: Notice) -> list[str]:
    return [one.address for one in notice.recipients]
