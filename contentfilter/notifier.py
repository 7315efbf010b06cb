"""Sends notices beside the journey: whether they arrive changes no reply, and nobody waits for them.

So many at a time and no more: under a flood of bad mail the mail comes first, and what is dropped is logged.
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


class Notifier:
    """Takes notices and sends them in its own time. For one event loop."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._pending: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)

    def post(self, mail_id: str, notices: Iterable[Notice]) -> None:
        """Have these sent. mail_id: of the message that they are about, for the log."""
        for notice in notices:
            if len(self._pending) >= MOST_PENDING:
                maillog.not_notified(mail_id, _addresses(notice), "too many notices are waiting")
                continue
            task = asyncio.get_running_loop().create_task(self._send(mail_id, notice))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def close(self) -> None:
        """Wait for what is pending; each has its own end."""
        await asyncio.gather(*self._pending)

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
