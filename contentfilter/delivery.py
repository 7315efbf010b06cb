"""Hands one group's copy to the next hop: marked, edited, addressed. What is sent to whom is decided elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from contentfilter import maillog, reply
from contentfilter.case import Case, Copy
from contentfilter.envelope import Recipient
from contentfilter.fields import edits_for, received_field
from contentfilter.large_work import in_thread
from contentfilter.message import HeaderEdits
from contentfilter.reply import Reply
from contentfilter.routes import Way, outgoing

PATIENCE_FOR_BCC = 60.0
"""Seconds for what a rule adds: the recipients are served, and who gives up on us would send to all of them again."""


class Delivery:
    """Sends copies. hostname: who we are; delimiter: Postfix's recipient_delimiter, "" for none."""

    def __init__(self, way: Way, hostname: str, delimiter: str) -> None:
        self._way = way
        self._hostname = hostname
        self._delimiter = delimiter

    async def send(
        self, case: Case, copy: Copy, members: Sequence[int], served: dict[str, Reply], deadline: float
    ) -> tuple[Reply, ...]:
        """To one group. The replies of the group, in its order; no fault of the next hop raises.

        members: places of the case's recipients. served: addresses of redirects that have the message from an earlier
        group; those of this one are added. deadline: by time.monotonic; who waits for us has a limit to its patience,
        and what is not done by then is done again.
        """
        routes = [case.verdicts[at].route for at in members]
        wanted = [
            outgoing(case.envelope.recipients[at], route, self._delimiter)
            for at, route in zip(members, routes, strict=True)
        ]
        # A redirect sends several to one address, which then gets one copy.
        redirects = {route.redirect for route in routes} - {""}
        sent = _once(wanted) if redirects else wanted
        sent = [one for one in sent if one.address not in redirects or one.address not in served]
        if not sent:
            return tuple(served[one.address] for one in wanted)
        edits = await self._edits(case, copy, sent)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                answers = await self._sent(case, copy.next_hop, sent, edits)
        except TimeoutError:
            maillog.too_late(case.mail_id, len(members))
            return (reply.NEXT_HOP_LOST,) * len(members)
        if not redirects:
            return answers
        of_address = {one.address: answer for one, answer in zip(sent, answers, strict=True)}
        replies = tuple(of_address.get(one.address) or served[one.address] for one in wanted)
        served.update({address: of_address[address] for address in redirects if _has_it(of_address.get(address))})
        return replies

    async def add(self, case: Case, copy: Copy, addresses: Sequence[str], deadline: float) -> None:
        """To those whom a rule adds with BCC, when the group is served; it changes no reply, and nothing raises.

        Not along with the group: while its recipients are deferred, each retry would send the addition once more.
        """
        added = [Recipient(address, notify=("NEVER",)) for address in addresses]
        answers: tuple[Reply, ...] = (reply.NEXT_HOP_LOST,) * len(added)
        try:
            edits = await self._edits(case, copy, added)
            async with asyncio.timeout(min(deadline - time.monotonic(), PATIENCE_FOR_BCC)):
                answers = await self._sent(case, "", added, edits)
        except TimeoutError:
            maillog.too_late(case.mail_id, len(added))
        except Exception:
            maillog.unforeseen(case.mail_id, "sending what a rule adds with BCC")
        for recipient, answer in zip(added, answers, strict=True):
            if not answer.positive:
                maillog.not_copied(case.mail_id, recipient.address, answer)

    async def _sent(
        self, case: Case, via: str, recipients: Sequence[Recipient], edits: HeaderEdits
    ) -> tuple[Reply, ...]:
        size = len(case.message) + edits.growth
        return await self._way.send(case.envelope, recipients, lambda: case.message.edited(edits), size, via)

    async def _edits(self, case: Case, copy: Copy, recipients: Sequence[Recipient]) -> HeaderEdits:
        received = received_field(case.envelope, recipients, case.mail_id, self._hostname)
        arguments = case.message.buffer, case.tree.header, copy.marking, received, self._hostname
        if case.tree.header.complete:
            return edits_for(*arguments)
        return await in_thread(edits_for, *arguments)  # a header of many megabytes


def _once(recipients: Sequence[Recipient]) -> list[Recipient]:
    """Each address once; of several with different wishes one that is to be told of a failure."""
    once: dict[str, Recipient] = {}
    for one in recipients:
        if one.address not in once or (one.wants_failure_report and not once[one.address].wants_failure_report):
            once[one.address] = one
    return list(once.values())


def _has_it(answer: Reply | None) -> bool:
    return answer is not None and answer.positive
