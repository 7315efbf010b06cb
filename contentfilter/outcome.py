"""Outcomes: the replies of single recipients, and the one reply that a door has which can give only one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from contentfilter import reply
from contentfilter.envelope import Recipient
from contentfilter.reply import Reply
from contentfilter.verdict import Action, Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient: the verdict, and the reply that is true for this recipient alone."""

    recipient: Recipient
    verdict: Verdict
    reply: Reply

    @property
    def waits_for_nobody(self) -> bool:
        """No copy is kept, or one of a message that was to pass."""
        return not self.verdict.quarantine or self.verdict.action is Action.PASS

    @property
    def refused(self) -> bool:
        """By policy or by the next hop, for good."""
        return self.reply.permanent


def must_wait(verdicts: Iterable[Verdict]) -> bool:
    """Whether a door with a single reply will have to say 4xx, which brings back those who are served as well."""
    return any(verdict.action is Action.DEFER for verdict in verdicts)


def all_wait(verdicts: Iterable[Verdict]) -> bool:
    """Whether nobody is to be served now."""
    return all(verdict.action is Action.DEFER for verdict in verdicts)


def single_reply(outcomes: Sequence[Outcome], earlier: Sequence[Reply] = ()) -> tuple[Reply, tuple[Outcome, ...]]:
    """The one reply of an SMTP transaction, and the recipients whom we must then report as failed ourselves.

    One 4xx makes it 4xx. Only 5xx: the sender's server writes the report. 5xx beside 2xx: 250, and a report of ours.
    earlier: the 2xx of those who were served at an earlier attempt.
    """
    replies = [outcome.reply for outcome in outcomes]
    waiting = [answer for answer in replies if answer.temporary]
    if waiting:
        alike = len(waiting) == len(replies) and len(set(waiting)) == 1 and not earlier
        return (waiting[0] if alike else reply.MIXED_DEFERRAL), ()
    refused = tuple(outcome for outcome in outcomes if outcome.refused)
    if len(refused) == len(outcomes) and not earlier:
        return replies[0], ()
    delivered = [outcome.reply for outcome in outcomes if _served(outcome)]
    kept = [answer for answer in replies if answer.positive]
    return (*delivered, *kept, *earlier)[0], refused


def as_told(outcomes: Sequence[Outcome], answer: Reply, *, remembered: bool) -> Sequence[Outcome]:
    """What became of the recipients in the light of a single reply: one 4xx, and who is not served yet waits.

    remembered: whether those who are served will be known when the message comes again; otherwise only what was sent
    stays done.
    """
    if not answer.temporary:
        return outcomes
    return [
        one
        if _served(one) or (remembered and one.reply.positive)
        else Outcome(one.recipient, replace(one.verdict, quarantine=False), answer)
        for one in outcomes
    ]


def _served(outcome: Outcome) -> bool:
    return outcome.verdict.action is Action.PASS and outcome.reply.positive
