"""The page: the journey of one message, top to bottom.

The numbers are those of the package docstring. What is decided is decided in :mod:`contentfilter.decision`; what is
known of the message is found by the inspectors; this module only says what comes after what, and who pays when a step
fails:

- what was served at an earlier attempt stays served: the ledger answers for it;
- before anything was sent, a failure defers the message for everybody;
- a quarantine copy or a group that fails takes only its own recipients with it;
- nothing after the last delivery can turn a delivered recipient into an undelivered one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol as Interface

from contentfilter import maillog, reply
from contentfilter.case import Case, Copy
from contentfilter.copies import Copies, Keeper
from contentfilter.delivery import Delivery
from contentfilter.envelope import Envelope, Protocol
from contentfilter.errors import FilterError
from contentfilter.evidence import Evidence
from contentfilter.finding import Kind
from contentfilter.inspectors import Inspector, Subject
from contentfilter.judging import Judging, Site, wanted
from contentfilter.mail_id import new_id
from contentfilter.message import Message
from contentfilter.mime import Tree
from contentfilter.notice import notices
from contentfilter.notifier import Notifier
from contentfilter.outcome import Outcome, all_wait, as_told, must_wait, single_reply
from contentfilter.policy.lookup import Policies
from contentfilter.refused import Refused
from contentfilter.reply import Reply
from contentfilter.retries import Attempt, Forgetful, Memory
from contentfilter.routes import Way
from contentfilter.unpack.unpacked import Unpacked
from contentfilter.verdict import Action, Category, Verdict


class Chronicle(Interface):
    """What the journey needs of the history."""

    def note(self, case: Case, outcomes: Sequence[Outcome]) -> None:
        """Keep how a message fared, so that it can be explained. Never raises."""
        ...


class Opening(Interface):
    """What the journey needs of the box that containers are opened in."""

    async def open(self, tree: Tree, size: int) -> Unpacked:
        """What is in the containers among the tree's leaves, of a message of this size. Raises InspectorError."""
        ...


class Pipeline:
    """Takes one message after another along the whole way."""

    def __init__(
        self,
        site: Site,
        policies: Policies,
        inspectors: Sequence[Inspector],
        next_hop: Way,
        quarantine: Keeper,
        *,
        box: Opening,
        history: Chronicle | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._site = site
        self._policies = policies
        self._judging = Judging(site, inspectors)
        self._delivery = Delivery(next_hop, site.hostname, site.recipient_delimiter)
        self._notifier = Notifier(next_hop)
        self._copies = Copies(quarantine)
        self._refused = Refused(next_hop, self._copies.keep, site.hostname)
        self._memory = memory or Forgetful()
        self._box = box
        self._others_fare_well = True
        """Whether a message was judged since the last unforeseen error: then the fault is one of that message."""
        self._history = history

    async def handle(self, envelope: Envelope, message: Message) -> tuple[Reply, ...]:
        """The journey. One reply per recipient for LMTP, exactly one for SMTP."""
        mail_id = new_id()
        attempt = await self._memory.attempt(envelope, message)
        answers = await self._journey(mail_id, attempt, message)
        if attempt.answered and not any(answer.temporary for answer in answers):
            await self._memory.complete(mail_id, attempt)
        return answers

    async def _journey(self, mail_id: str, attempt: Attempt, message: Message) -> tuple[Reply, ...]:
        began = time.monotonic()
        envelope, waiting = attempt.envelope, attempt.open
        if len(waiting.recipients) < len(envelope.recipients):
            maillog.remembered(mail_id, envelope, attempt.answered)
            if not waiting.recipients:
                return _answers(attempt, ())
        try:
            case = await self._case(mail_id, waiting, message, attempt)  # 1 to 5
        except FilterError as error:
            maillog.undecided(mail_id, waiting, error)
            raise
        replies: list[Reply | None] = [None] * len(waiting.recipients)
        try:
            await self._carry_out(case, attempt, replies)  # 6 to 8
            answers, told = await self._answer(case, attempt, replies)  # 9 and 11
        except asyncio.CancelledError:
            await asyncio.shield(self._cut_off(case, attempt, replies))
            raise
        self._notify(case, told)  # 9
        maillog.judged(_facts(case), told, round((time.monotonic() - began) * 1000))  # 10
        if self._history is not None:
            self._history.note(case, told)
        return answers

    async def _case(self, mail_id: str, envelope: Envelope, message: Message, attempt: Attempt) -> Case:
        """The message judged, or set apart because judging it did harm again and again. Nothing opened stays open."""
        known = attempt.known
        if 0 < self._site.poison_after <= known.strikes:
            maillog.isolated(mail_id, envelope, known.strikes, known.harm)
            effective = await self._policies.of_all(envelope)
            return self._judging.isolated(mail_id, envelope, message, effective, known)
        async with self._memory.alone() if known.strikes else contextlib.nullcontext():
            # Not while it waits: whoever is in work meanwhile may bring us down, and it had no part in that.
            with self._memory.at_risk(attempt):
                case = await self._judge_on_trial(mail_id, envelope, message, attempt)
        case.opened.close()
        case = replace(case, tree=case.tree.top)  # megabytes that need not be there while it is sent
        if case.harm:
            await self._memory.strike(mail_id, attempt, case.harm)
        elif known.strikes and not _failures(case.evidence):
            await self._memory.absolve(mail_id, attempt)
        return case

    async def _judge_on_trial(self, mail_id: str, envelope: Envelope, message: Message, attempt: Attempt) -> Case:
        """Judge; a fault of ours counts against the message, unless it may strike any message, or is the machine's."""
        try:
            case = await self.judge(mail_id, envelope, message)
        except FilterError:
            raise
        except Exception as error:
            maillog.unforeseen(mail_id, "judging")
            harm = f"unforeseen error: {type(error).__name__}"
            if self._others_fare_well and not isinstance(error, (OSError, MemoryError)):
                self._others_fare_well = False
                await self._memory.strike(mail_id, attempt, harm)
            raise FilterError(harm) from error
        self._others_fare_well = True
        return case

    def _notify(self, case: Case, told: Sequence[Outcome]) -> None:
        """What is wrong with a notice changes no reply: who is served would be served again."""
        try:
            self._notifier.post(case.mail_id, notices(case, told, self._site.hostname))
        except Exception:
            maillog.unforeseen(case.mail_id, "writing notices")

    async def close(self) -> None:
        """Finish what nobody waits for, and let the sources of policies go."""
        await self._notifier.close()
        self._policies.close()

    async def admit(self, envelope: Envelope, size: int) -> Reply | None:
        """Whether the last recipient refuses a message of this size in bytes (RFC 1870). Raises FilterError."""
        policy = await self._policies.settings_of(envelope.recipients[-1].address, envelope)
        refuses = policy.action(Category.OVERSIZED) is Action.REJECT and not policy.shadow
        return reply.REJECTED_OVERSIZED if refuses and 0 < policy.message_size_limit < size else None

    async def judge(self, mail_id: str, envelope: Envelope, message: Message) -> Case:
        """Everything up to the verdicts; nothing is sent, stored or changed.

        Raises FilterError when the message cannot be judged as a whole.
        """
        tree = await self._judging.take_apart(message)  # 3, first because the hop count needs the header
        self._judging.check_loop(tree)  # 1
        effective = await self._policies.of_all(envelope)  # 2
        policies = [one.policy for one in effective]
        users, rules = wanted(policies)
        subject = Subject(mail_id, envelope, message, tree, users, banned_rules=rules)
        async with self._judging.inquiry(subject, policies) as inquiry:  # 4, those who look into no container
            opened = await self._box.open(tree, len(message))  # 3, the containers, now that it is no loop
            try:
                evidence, harm = await inquiry.conclude(opened)  # 4
                verdicts = await self._judging.decide(envelope, effective, evidence)  # 5
            except BaseException:
                opened.close()
                raise
        return Case(mail_id, envelope, message, tree, evidence, effective, verdicts, opened, harm)

    async def _carry_out(self, case: Case, attempt: Attempt, replies: list[Reply | None]) -> None:
        """Keep, group, send. Puts in the reply of each recipient as it is known."""
        plan = _Splitting(self._memory, attempt, case.envelope.protocol)
        if must_wait(case.verdicts) and (all_wait(case.verdicts) or not await plan.may_split()):
            replies[:] = [_own_deferral(verdict) or reply.MIXED_DEFERRAL for verdict in case.verdicts]
            return
        failed = await self._copies.keep_withheld(case)  # 6
        replies[:] = [failed if verdict.quarantine and failed else verdict.reply for verdict in case.verdicts]
        await self._send_all(case, plan, replies)  # 7 and 8

    async def _send_all(self, case: Case, plan: _Splitting, replies: list[Reply | None]) -> None:
        """Send to each group and put its replies in. Whom nobody could be asked about keeps none."""
        deadline = time.monotonic() + self._site.send_timeout
        served: dict[str, Reply] = {}
        groups = case.groups(replies)
        for copy, members in groups.items():
            if _some_wait(replies, sent=True) and not await plan.may_split():
                return  # the whole message will come again: nobody else is served twice
            if time.monotonic() >= deadline:
                maillog.too_late(case.mail_id, replies.count(None))
                break
            answers = await self._send(case, copy, members, served, deadline)
            for index, answer in zip(members, answers, strict=True):
                replies[index] = answer
        if any(copy.bcc for copy in groups) and (not _some_wait(replies) or await plan.may_split()):
            await self._add(case, plan.attempt, groups, replies, deadline)

    async def _add(
        self,
        case: Case,
        attempt: Attempt,
        groups: Mapping[Copy, Sequence[int]],
        replies: Sequence[Reply | None],
        deadline: float,
    ) -> None:
        """Send what rules add with BCC to groups of which somebody is served."""
        copied = set(attempt.known.additions)
        for copy, members in groups.items():
            bcc = [address for address in copy.bcc if address not in copied]
            if bcc and any(_positive(replies[index]) for index in members):
                await self._delivery.add(case, copy, bcc, deadline)
                copied.update(bcc)
        fresh = copied - attempt.known.additions
        if fresh and _some_wait(replies):
            await self._memory.remember(attempt, {}, sorted(fresh))

    async def _send(
        self, case: Case, copy: Copy, members: Sequence[int], served: dict[str, Reply], deadline: float
    ) -> Sequence[Reply]:
        """A group that fails takes no other along: those who are served already would be served again."""
        try:
            return await self._delivery.send(case, copy, members, served, deadline)
        except Exception:
            maillog.unforeseen(case.mail_id, "sending")
            return [reply.INTERNAL] * len(members)

    async def _answer(
        self, case: Case, attempt: Attempt, replies: Sequence[Reply | None]
    ) -> tuple[tuple[Reply, ...], Sequence[Outcome]]:
        """What the client is told, and what became of each recipient in the light of that."""
        outcomes = _outcomes(case, replies)
        if case.envelope.protocol is Protocol.LMTP:
            await self._copies.withdraw(case, outcomes)
            return _answers(attempt, outcomes), outcomes
        earlier = tuple(attempt.answered.values())
        answer, refused = single_reply(outcomes, earlier)
        if refused and not await self._refused.account_for(case, refused):
            answer = reply.MIXED_DEFERRAL
        remembered = answer.temporary and await self._remember(attempt, outcomes)
        told = as_told(outcomes, answer, remembered=remembered)
        await self._copies.withdraw(case, told)
        return (answer,), told

    async def _remember(self, attempt: Attempt, outcomes: Sequence[Outcome]) -> bool:
        """Whether those who are served are known when they come again."""
        served = {one.recipient.address: one.reply for one in outcomes if one.reply.positive}
        return bool(served) and await self._memory.remember(attempt, served)

    async def _cut_off(self, case: Case, attempt: Attempt, replies: Sequence[Reply | None]) -> None:
        """We have to end before anybody was answered: all of them come again, also those who are served."""
        outcomes = _outcomes(case, replies)
        remembered = await self._remember(attempt, outcomes)
        await self._copies.withdraw(case, as_told(outcomes, reply.MIXED_DEFERRAL, remembered=remembered))


class _Splitting:
    """Whether one reply may leave some recipients served and others waiting: if the ledger can tell them apart."""

    def __init__(self, memory: Memory, attempt: Attempt, protocol: Protocol) -> None:
        self.attempt = attempt
        self._memory = memory
        self._may = True if protocol is Protocol.LMTP else None

    async def may_split(self) -> bool:
        """Asked only when it comes to that: it costs a write."""
        if self._may is None:
            self._may = await self._memory.remember(self.attempt, {})
        return self._may


def _outcomes(case: Case, replies: Sequence[Reply | None]) -> list[Outcome]:
    """In the order of the recipients; who has no reply yet comes again."""
    return [
        Outcome(recipient, verdict, answer or reply.MIXED_DEFERRAL)
        for (recipient, verdict), answer in zip(case.recipients, replies, strict=True)
    ]


def _answers(attempt: Attempt, outcomes: Sequence[Outcome]) -> tuple[Reply, ...]:
    """The reply for each recipient of the attempt, be it an earlier one; a single one if all have been answered."""
    earlier = attempt.answered
    if attempt.envelope.protocol is not Protocol.LMTP:
        return (next(iter(earlier.values())),)
    fresh = iter(outcomes)
    return tuple(
        earlier[one.address] if one.address in earlier else next(fresh).reply for one in attempt.envelope.recipients
    )


def _failures(evidence: Evidence) -> bool:
    """Whether somebody could not answer: a message that nobody looked at has not proved to be harmless."""
    return any(finding.kind is Kind.FAILURE for finding in evidence.findings)


def _some_wait(replies: Sequence[Reply | None], *, sent: bool = False) -> bool:
    """Whether some recipients will come again. sent: of those that have a reply yet."""
    return any(one.temporary if one is not None else not sent for one in replies)


def _facts(case: Case) -> maillog.Facts:
    return maillog.Facts(case.mail_id, case.envelope, case.text("message-id"), len(case.message))


def _positive(answer: Reply | None) -> bool:
    return answer is not None and answer.positive


def _own_deferral(verdict: Verdict) -> Reply | None:
    return verdict.reply if verdict.action is Action.DEFER else None
