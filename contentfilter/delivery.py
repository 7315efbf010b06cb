"""Hands one group's copy to the next hop: marked, edited, addressed. What is sent to whom is decided elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from contentfilter import maillog, reply
from contentfilter.case import Case, Copy
from contentfilter.envelope import Recipient
from contentfilter.fields import edits_for, received_field
from contentfilter.message import HeaderEdits
from contentfilter.reply import Reply
from contentfilter.routes import Way, outgoing


class Delivery:
    """Sends copies. hostname: who we are; delimiter: Postfix's recipient_delimiter, "" for none."""

    def __init__(self, way: Way, hostname: str, delimiter: str) -> None:
        self._way = way
        self._hostname = hostname
        self._delimiter = delimiter

    async def send(
        self, case: Case, copy: Copy, members: Sequence[int], bcc: Sequence[str], deadline: float
    ) -> tuple[Reply, ...]:
        """To one group, and to those whom a rule adds. The replies of the group, in its order; nothing raises.

        members: places of the case's recipients. deadline: by time.monotonic; who waits for us has a limit to its
        patience, and what is not done by then is done again.
        """
        wanted = [outgoing(case.envelope.recipients[at], case.verdicts[at].route, self._delimiter) for at in members]
        # A redirect sends several to one address, which then gets one copy.
        redirected = any(case.verdicts[at].route.redirect for at in members)
        sent = list({one.address: one for one in wanted}.values()) if redirected else wanted
        everybody = [*sent, *(Recipient(address, notify=("NEVER",)) for address in bcc)]
        edits = await self._edits(case, copy, sent)
        size = len(case.message) + edits.growth
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                answers = await self._way.send(
                    case.envelope, everybody, lambda: case.message.edited(edits), size, copy.next_hop
                )
        except TimeoutError:
            maillog.too_late(case.mail_id, len(members))
            return (reply.NEXT_HOP_LOST,) * len(members)
        for recipient, answer in zip(everybody[len(sent) :], answers[len(sent) :], strict=True):
            if not answer.positive:
                maillog.not_copied(case.mail_id, recipient.address, answer)
        if not redirected:
            return answers[: len(sent)]
        of_address = {one.address: answer for one, answer in zip(sent, answers, strict=False)}
        return tuple(of_address[one.address] for one in wanted)

    async def _edits(self, case: Case, copy: Copy, recipients: Sequence[Recipient]) -> HeaderEdits:
        received = received_field(case.envelope, recipients, case.mail_id, self._hostname)
        arguments = case.message.buffer, case.tree.header, copy.marking, received, self._hostname
        if case.tree.header.complete:
            return edits_for(*arguments)
        return await asyncio.to_thread(edits_for, *arguments)  # a header of many megabytes
