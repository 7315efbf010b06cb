"""Recipients that were refused beside others that were served, where one 250 has to answer for all of them.

The sender's server will not report them, so we do, in one report of RFC 3464 that names exactly them. Who must not be
told, or cannot be, has the message in quarantine instead: nobody vanishes silently.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from contentfilter import maillog, reply
from contentfilter.case import Case
from contentfilter.delivery_report import failure_report
from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import QuarantineError
from contentfilter.mail_id import new_id
from contentfilter.outcome import Outcome
from contentfilter.reply import Reply
from contentfilter.routes import Way
from contentfilter.verdict import Category, Verdict

Store = Callable[[Case, str, Sequence[tuple[Recipient, Verdict]]], Awaitable[None]]
"""Keeps a copy of a case under this id for these recipients. Raises QuarantineError."""


class Refused:
    """Accounts for them. hostname: who we are."""

    def __init__(self, way: Way, store: Store, hostname: str) -> None:
        self._way = way
        self._store = store
        self._hostname = hostname

    async def account_for(self, case: Case, refused: Sequence[Outcome]) -> bool:
        """Report recipients to the sender, else keep the message for them. False if neither worked."""
        if not case.envelope.mail_from:
            return await self._keep(case, refused, "the sender is null")
        wanting = [outcome for outcome in refused if outcome.recipient.wants_failure_report]
        if not wanting:
            return True
        answer = await self._report(case, wanting)
        if answer.positive:
            maillog.reported(case.mail_id, case.envelope.mail_from, _addresses(wanting))
            return True
        return await self._keep(case, wanting, f"the report was answered {answer}")

    async def _report(self, case: Case, refused: Sequence[Outcome]) -> Reply:
        sender = Recipient(case.envelope.mail_from)
        envelope = Envelope("", (sender,), smtputf8=case.envelope.smtputf8, body="8BITMIME")
        try:
            report = failure_report(
                case.envelope,
                [(outcome.recipient, outcome.reply) for outcome in refused],
                case.message,
                hostname=self._hostname,
                mail_id=case.mail_id,
                subject=case.text("subject"),
                with_body=all(outcome.verdict.category < Category.UNCHECKED for outcome in refused),
            )
            (answer,) = await self._way.send(envelope, (sender,), lambda: iter((report,)), len(report))
        except Exception:
            # Others are served: they would be served again.
            maillog.unforeseen(case.mail_id, "reporting to the sender")
            return reply.INTERNAL
        return answer

    async def _keep(self, case: Case, refused: Sequence[Outcome], why: str) -> bool:
        mail_id = case.mail_id
        # A copy of what was to pass waits for nobody; now somebody does wait.
        unkept = [(one.recipient, one.verdict) for one in refused if one.waits_for_nobody]
        if unkept:
            mail_id = new_id()
            try:
                await self._store(case, mail_id, unkept)
            except QuarantineError as error:
                maillog.step_failed(case.mail_id, "keeping what cannot be reported", error)
                return False
        maillog.unreported(case.mail_id, _addresses(refused), why, mail_id)
        return True


def _addresses(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.recipient.address for outcome in outcomes]
