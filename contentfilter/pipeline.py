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
from dataclasses import dataclass, field, replace
from typing import Protocol as Interface

from contentfilter import maillog, reply
from contentfilter.age import age_of
from contentfilter.case import Case, Copy
from contentfilter.copies import Copies, Keeper
from contentfilter.decision import Evidence, abridged, decide, is_local, wants
from contentfilter.delivery import Delivery
from contentfilter.domains import LocalDomains
from contentfilter.envelope import Envelope, Protocol
from contentfilter.errors import FilterError, InspectorTimeoutError
from contentfilter.failure import OnFailure, in_force
from contentfilter.fields import hops, own_marks
from contentfilter.finding import Finding, Kind, RuleAction
from contentfilter.inspectors import Inspector, Remote, Subject
from contentfilter.ledger import Known
from contentfilter.mail_id import new_id
from contentfilter.message import Message
from contentfilter.mime import Limits, Tree, parse
from contentfilter.notice import notices
from contentfilter.notifier import Notifier
from contentfilter.outcome import Outcome, as_told, must_wait, single_reply
from contentfilter.policy.entry import Effective
from contentfilter.policy.lookup import Policies
from contentfilter.policy.settings import Policy
from contentfilter.refused import Refused
from contentfilter.reply import Reply
from contentfilter.retries import Attempt, Forgetful, Memory
from contentfilter.routes import Way
from contentfilter.unpack.unpacked import Unpacked
from contentfilter.verdict import Action, Category, Verdict

PARSE_IN_THREAD = 262_144
"""Bytes from which a message is taken apart in a thread: about the size where it costs the loop a millisecond."""

DECIDE_IN_THREAD = 1000
"""Findings times policies from which verdicts are made in a thread; two milliseconds."""

POISON = "poison"
"""Who reports a message that is set apart because it did harm again and again."""


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


@dataclass(frozen=True, slots=True)
class Site:
    """Who and what we are.

    inspect_timeout, send_timeout: seconds for all inspectors, and for all groups; on_failure: by inspector;
    recipient_delimiter: Postfix's, "" for none; poison_after: harms after which a message is set apart, 0 for never;
    failure_grace: seconds by inspector, see :func:`in_force`.
    """

    hostname: str
    local: LocalDomains
    inspect_timeout: float
    send_timeout: float
    max_hops: int
    max_passes: int
    mime_limits: Limits
    on_failure: Mapping[str, OnFailure]
    recipient_delimiter: str = "+"
    poison_after: int = 3
    failure_grace: Mapping[str, float] = field(default_factory=dict)


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
        self._inspectors = tuple(inspectors)
        self._delivery = Delivery(next_hop, site.hostname, site.recipient_delimiter)
        self._notifier = Notifier(next_hop)
        self._copies = Copies(quarantine)
        self._refused = Refused(next_hop, self._copies.keep, site.hostname)
        self._memory = memory or Forgetful()
        self._box = box
        self._history = history

    async def handle(self, envelope: Envelope, message: Message) -> tuple[Reply, ...]:
        """The journey. One reply per recipient for LMTP, exactly one for SMTP."""
        began = time.monotonic()
        mail_id = new_id()
        attempt = await self._memory.attempt(envelope, message)
        waiting = attempt.open
        if len(waiting.recipients) < len(envelope.recipients):
            maillog.remembered(mail_id, envelope, attempt.answered)
            if not waiting.recipients:
                return _answers(attempt, ())
        try:
            with self._memory.at_risk(attempt):
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
            return await self._isolated(mail_id, envelope, message, known)
        async with self._memory.alone() if known.strikes else contextlib.nullcontext():
            case = await self._judge_on_trial(mail_id, envelope, message, attempt)
        case.opened.close()
        if case.harm:
            await self._memory.strike(mail_id, attempt, case.harm)
        elif known.strikes:
            await self._memory.absolve(mail_id, attempt)
        return case

    async def _judge_on_trial(self, mail_id: str, envelope: Envelope, message: Message, attempt: Attempt) -> Case:
        """Judge; a fault of ours counts against the message, one of the machine does not."""
        try:
            return await self.judge(mail_id, envelope, message)
        except (FilterError, OSError, MemoryError):
            raise
        except Exception as error:
            maillog.unforeseen(mail_id, "judging")
            await self._memory.strike(mail_id, attempt, f"unforeseen error: {type(error).__name__}")
            raise FilterError(f"unforeseen error: {type(error).__name__}") from error

    async def _isolated(self, mail_id: str, envelope: Envelope, message: Message, known: Known) -> Case:
        """A case of which nobody looked at the message: withheld from everybody, and kept."""
        effective = await self._policies.of_all(envelope)
        why = f"the filter failed {known.strikes} times over this message, at last by: {known.harm}"
        evidence = Evidence((Finding(Kind.UNCHECKED, POISON, why),), len(message))
        verdict = Verdict(
            Category.UNCHECKED, Action.DISCARD, quarantine=True, reply=reply.QUARANTINED, reasons=(f"poison: {why}",)
        )
        at_home = [
            is_local(one.policy, by_domain=self._site.local.has(recipient.address))
            for one, recipient in zip(effective, envelope.recipients, strict=True)
        ]
        verdicts = tuple(replace(verdict, local=local) for local in at_home)
        return Case(mail_id, envelope, message, parse(b""), evidence, effective, verdicts)

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
        tree = await self._take_apart(message)  # 3, first because the hop count needs the header
        self._check_loop(tree)  # 1
        effective = await self._policies.of_all(envelope)  # 2
        policies = [one.policy for one in effective]
        opened = await self._box.open(tree, len(message))  # 3, the containers, now that it is no loop
        try:
            users, rules = _spam_users(policies), _banned_rules(policies)
            subject = Subject(mail_id, envelope, message, tree, users, opened, rules)
            evidence, harm = await self._inspect(subject, policies)  # 4
            verdicts = await self._decide(envelope, effective, evidence)  # 5
        except BaseException:
            opened.close()
            raise
        return Case(mail_id, envelope, message, tree, evidence, effective, verdicts, opened, harm)

    async def _take_apart(self, message: Message) -> Tree:
        if len(message) < PARSE_IN_THREAD:
            return parse(message.buffer, self._site.mime_limits)
        return await asyncio.to_thread(parse, message.buffer, self._site.mime_limits)

    def _check_loop(self, tree: Tree) -> None:
        passes = own_marks(tree.header, self._site.hostname)
        if passes >= self._site.max_passes:
            problem = f"passed through here {passes} times; is content_filter empty on the reinjection port?"
            raise FilterError(f"mail loop: {problem}", reply.MAIL_LOOP)
        if hops(tree.header) > self._site.max_hops:
            raise FilterError(f"mail loop: more than {self._site.max_hops} hops", reply.MAIL_LOOP)

    async def _decide(
        self, envelope: Envelope, effective: Sequence[Effective], evidence: Evidence
    ) -> tuple[Verdict, ...]:
        """A verdict for each recipient; those with one policy share one."""
        at_home = [self._site.local.has(recipient.address) for recipient in envelope.recipients]
        asked = {(id(one), local): (one, local) for one, local in zip(effective, at_home, strict=True)}

        def decided() -> dict[tuple[int, bool], Verdict]:
            return {key: decide(evidence, one, local=local) for key, (one, local) in asked.items()}

        much = len(asked) * len(evidence.findings) >= DECIDE_IN_THREAD
        verdicts = await asyncio.to_thread(decided) if much else decided()
        return tuple(verdicts[id(one), local] for one, local in zip(effective, at_home, strict=True))

    async def _inspect(self, subject: Subject, policies: Sequence[Policy]) -> tuple[Evidence, str]:
        """Ask everybody whom somebody wants asked, at the same time, under one deadline.

        Also what harm the message did to those who were asked, "" for none.
        """
        distinct = {id(policy): policy for policy in policies}.values()
        asked = [one for one in self._inspectors if any(wants(policy, one.name) for policy in distinct)]
        reports = await asyncio.gather(*(self._ask(inspector, subject) for inspector in asked))
        findings = _not_looked_into(subject.tree) + subject.opened.findings
        findings = abridged(findings + tuple(finding for report in reports for finding in report.findings))
        doubts = {finding.inspector for finding in findings if finding.kind in (Kind.FAILURE, Kind.UNCHECKED)}
        scanned = any(one.name == "clamd" for one in asked) and "clamd" not in doubts
        modes = self._modes(subject) if any(self._site.failure_grace.values()) else self._site.on_failure
        hung = [one.name for one, report in zip(asked, reports, strict=True) if report.hung]
        harm = f"{', '.join(hung)} did not answer in time" if hung else ""
        return Evidence(findings, len(subject.message), scanned, modes), harm

    def _modes(self, subject: Subject) -> Mapping[str, OnFailure]:
        age = age_of(subject.tree.header, subject.envelope.received_at)
        return in_force(self._site.on_failure, self._site.failure_grace, age)

    async def _ask(self, inspector: Inspector, subject: Subject) -> _Report:
        timed_out = False
        try:
            async with asyncio.timeout(self._site.inspect_timeout):
                findings = await inspector.inspect(subject)
        except TimeoutError:
            problem, timed_out = f"no answer in {self._site.inspect_timeout:g} s", True
        except FilterError as error:
            problem, timed_out = str(error), isinstance(error, InspectorTimeoutError)
        except Exception:
            maillog.unforeseen(subject.mail_id, f"asking {inspector.name}")
            problem = "unforeseen error"
        else:
            for finding in findings:
                if finding.kind is Kind.FAILURE:
                    maillog.inspector_failed(subject.mail_id, inspector.name, finding.name)
                elif finding.rule is not None and finding.rule.action in (RuleAction.WARN, RuleAction.INFO):
                    maillog.rule_hit(subject.mail_id, finding)
            return _Report(findings)
        maillog.inspector_failed(subject.mail_id, inspector.name, problem)
        # One that answers others is in order, so it is the message that is too much for it.
        hung = timed_out and (not isinstance(inspector, Remote) or await inspector.answers())
        return _Report((Finding(Kind.FAILURE, inspector.name, problem),), hung)

    async def _carry_out(self, case: Case, attempt: Attempt, replies: list[Reply | None]) -> None:
        """Keep, group, send. Puts in the reply of each recipient as it is known."""
        plan = _Splitting(self._memory, attempt, case.envelope.protocol)
        if must_wait(case.verdicts) and not await plan.may_split():
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
        if not _some_wait(replies) or await plan.may_split():
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


@dataclass(frozen=True, slots=True)
class _Report:
    """What an inspector found. hung: it is in order, and took too long over this message."""

    findings: tuple[Finding, ...]
    hung: bool = False


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


def _some_wait(replies: Sequence[Reply | None], *, sent: bool = False) -> bool:
    """Whether some recipients will come again. sent: of those that have a reply yet."""
    return any(one.temporary if one is not None else not sent for one in replies)


def _facts(case: Case) -> maillog.Facts:
    return maillog.Facts(case.mail_id, case.envelope, case.text("message-id"), len(case.message))


def _positive(answer: Reply | None) -> bool:
    return answer is not None and answer.positive


def _own_deferral(verdict: Verdict) -> Reply | None:
    return verdict.reply if verdict.action is Action.DEFER else None


def _spam_users(policies: Sequence[Policy]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(policy.spam_user for policy in policies if not policy.bypass_spam_checks))


def _banned_rules(policies: Sequence[Policy]) -> tuple[tuple[str, ...], ...]:
    return tuple(dict.fromkeys(policy.banned_rules for policy in policies if wants(policy, "banned")))


def _not_looked_into(tree: Tree) -> tuple[Finding, ...]:
    limits = tuple(Finding(Kind.UNCHECKED, "mime", limit) for limit in tree.exceeded)
    return limits + tuple(Finding(Kind.UNCHECKED, "mime", name, path) for name, path in tree.unchecked)
