"""Copies in quarantine, as the journey keeps them: before anything is sent, and taken back for who comes again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol as Interface

from contentfilter import maillog
from contentfilter.case import Case
from contentfilter.envelope import Recipient
from contentfilter.errors import QuarantineError
from contentfilter.message import Message
from contentfilter.outcome import Outcome
from contentfilter.reply import Reply
from contentfilter.verdict import Action, Verdict
from quarantine.record import Record, State, Withheld


class Keeper(Interface):
    """What the journey needs of the quarantine. The calls block; they run in a thread."""

    def keep(self, record: Record, message: Message) -> None:
        """Return when the copy is safe on disk. Raises QuarantineError."""
        ...

    def withdraw(self, mail_id: str, keeping: Collection[str] = ()) -> None:
        """Undo keep, but for these addresses: the others were told to come again after all. Raises QuarantineError."""
        ...


class Copies:
    """Keeps copies of cases."""

    def __init__(self, quarantine: Keeper) -> None:
        self._quarantine = quarantine

    async def keep_withheld(self, case: Case) -> Reply | None:
        """One for whom a policy wants one. The reply for them if it could not be kept, None if all is safe."""
        kept_for = [(recipient, verdict) for recipient, verdict in case.recipients if verdict.quarantine]
        if not kept_for:
            return None
        try:
            await self.keep(case, case.mail_id, kept_for)
        except QuarantineError as error:
            maillog.step_failed(case.mail_id, "keeping a quarantine copy", error)
            return error.reply
        return None

    async def keep(self, case: Case, item_id: str, recipients: Sequence[tuple[Recipient, Verdict]]) -> None:
        """One for these. Raises QuarantineError."""

        def keep() -> None:
            self._quarantine.keep(_record(case, item_id, recipients), case.message)

        keeping = asyncio.ensure_future(asyncio.to_thread(keep))
        try:
            await asyncio.shield(keeping)
        except asyncio.CancelledError:
            # The thread goes on. Who withdraws what is not there yet would leave it behind.
            await asyncio.wait([keeping])
            raise

    async def withdraw(self, case: Case, told: Sequence[Outcome]) -> None:
        """For whoever was told to come again: each retry keeps one anew. told: in the order of the recipients."""
        coming = [at for at, one in enumerate(told) if case.verdicts[at].quarantine and one.reply.temporary]
        if not coming:
            return
        staying = {one.recipient.address for at, one in enumerate(told) if at not in coming and one.verdict.quarantine}
        try:
            await asyncio.to_thread(self._quarantine.withdraw, case.mail_id, staying)
        except QuarantineError as error:
            maillog.step_failed(case.mail_id, "withdrawing a quarantine copy", error)


def _record(case: Case, item_id: str, recipients: Sequence[tuple[Recipient, Verdict]]) -> Record:
    """What the quarantine keeps. A recipient to whom the message also passes has nothing left to be released."""
    effective = dict(zip(case.envelope.recipients, case.effective, strict=True))
    withheld = tuple(
        Withheld(
            recipient,
            verdict.category,
            verdict.action,
            verdict.reasons,
            State.DELIVERED if verdict.action is Action.PASS and item_id == case.mail_id else State.PENDING,
            next_hop=verdict.route.next_hop,
            quarantine=verdict.quarantine,
            score=verdict.score,
            local=verdict.local,
            effective=effective[recipient],
        )
        for recipient, verdict in recipients
    )
    return Record.of(
        item_id,
        case.envelope,
        case.message,
        withheld,
        findings=case.evidence.findings,
        on_failure=case.evidence.on_failure,
        score=case.score,
        subject=case.text("subject"),
        message_id=case.text("message-id"),
    )
