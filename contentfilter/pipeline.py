"""The page: the journey of one message, top to bottom.

The numbers are those of the package docstring. What is decided is decided in :mod:`contentfilter.decision`; what is
known of the message is found by the inspectors; this module only says what comes after what, and who pays when a step
fails:

- before anything was sent, a failure defers the message for everybody;
- a quarantine copy or a group that fails takes only its own recipients with it;
- nothing after the last delivery can turn a delivered recipient into an undelivered one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol as Interface

from contentfilter import maillog, reply
from contentfilter.decision import (
    Evidence,
    OnFailure,
    Outcome,
    abridged,
    as_told,
    copy_is_void,
    decide,
    must_wait,
    single_reply,
    wants,
)
from contentfilter.domains import LocalDomains
from contentfilter.envelope import Envelope, Protocol, Recipient
from contentfilter.errors import FilterError, QuarantineError
from contentfilter.fields import edits_for, hops, own_marks, received_field
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Inspector, Subject
from contentfilter.mail_id import new_id
from contentfilter.message import Message
from contentfilter.mime import Limits, Tree, parse
from contentfilter.next_hop import Content
from contentfilter.notice import failure_report
from contentfilter.policy.lookup import Policies
from contentfilter.policy.settings import Policy
from contentfilter.reply import Reply
from contentfilter.unpack.unpacked import NOTHING, Unpacked
from contentfilter.verdict import Action, Category, Marking, Verdict
from quarantine.record import Record, State, Withheld

PARSE_IN_THREAD = 262_144
"""Bytes from which a message is taken apart in a thread: about the size where it costs the loop a millisecond."""


class Way(Interface):
    """The way out, as :class:`contentfilter.next_hop.NextHop` offers it."""

    async def send(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int
    ) -> tuple[Reply, ...]:
        """One reply per recipient; no fault of the next hop raises."""
        ...


class Keeper(Interface):
    """What the journey needs of the quarantine. Both calls block; they run in a thread."""

    def keep(self, record: Record, message: Message) -> None:
        """Return when the copy is safe on disk. Raises QuarantineError."""
        ...

    def withdraw(self, mail_id: str) -> None:
        """Undo keep: the sender was told to try again after all. Raises QuarantineError."""
        ...


class Opening(Interface):
    """What the journey needs of the box that containers are opened in."""

    async def open(self, tree: Tree, size: int) -> Unpacked:
        """What is in the containers among the tree's leaves, of a message of this size. Raises InspectorError."""
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """One message and all that is known of it. verdicts stand in the order of the envelope's recipients.

    Whoever has a case closes what was opened for it.
    """

    mail_id: str
    envelope: Envelope
    message: Message
    tree: Tree
    evidence: Evidence
    policies: tuple[Policy, ...]
    verdicts: tuple[Verdict, ...]
    opened: Unpacked = NOTHING

    @property
    def score(self) -> float | None:
        """The spam score by the configured preferences, or the first there is; None if nobody scored."""
        scores = [finding for finding in self.evidence.findings if finding.kind is Kind.SPAM]
        return min(scores, key=lambda finding: finding.user != "").score if scores else None


@dataclass(frozen=True, slots=True)
class Site:
    """Who and what we are.

    inspect_timeout, send_timeout: seconds for all inspectors, and for all groups; on_failure: by inspector.
    """

    hostname: str
    local: LocalDomains
    inspect_timeout: float
    send_timeout: float
    max_hops: int
    max_passes: int
    mime_limits: Limits
    on_failure: Mapping[str, OnFailure]


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
    ) -> None:
        self._site = site
        self._policies = policies
        self._inspectors = tuple(inspectors)
        self._next_hop = next_hop
        self._quarantine = quarantine
        self._box = box

    async def handle(self, envelope: Envelope, message: Message) -> tuple[Reply, ...]:
        """The journey. One reply per recipient for LMTP, exactly one for SMTP."""
        began = time.monotonic()
        mail_id = new_id()
        try:
            case = await self.judge(mail_id, envelope, message)  # 1 to 5
        except FilterError as error:
            maillog.undecided(mail_id, envelope, error)
            raise
        case.opened.close()
        try:
            outcomes = await self._carry_out(case)  # 6 to 8
            answers = await self._answer(case, outcomes)  # 9 and 11
        except asyncio.CancelledError:
            # Cut off before anybody was answered: all of it comes again, and the copy with it.
            if any(verdict.quarantine for verdict in case.verdicts):
                await asyncio.shield(self._withdraw(case))
            raise
        told = outcomes if envelope.protocol is Protocol.LMTP else as_told(outcomes, answers[0])
        maillog.judged(_facts(case), told, round((time.monotonic() - began) * 1000))  # 10
        return answers

    async def judge(self, mail_id: str, envelope: Envelope, message: Message) -> Case:
        """Everything up to the verdicts; nothing is sent, stored or changed.

        Raises FilterError when the message cannot be judged as a whole.
        """
        tree = await self._take_apart(message)  # 3, first because the hop count needs the header
        self._check_loop(tree)  # 1
        policies = await self._look_up(envelope)  # 2
        opened = await self._box.open(tree, len(message))  # 3, the containers, now that it is no loop
        try:
            users, rules = _spam_users(policies), _banned_rules(policies)
            subject = Subject(mail_id, envelope, message, tree, users, opened, rules)
            evidence = await self._inspect(subject, policies)  # 4
        except BaseException:
            opened.close()
            raise
        verdicts = self._decide(envelope, policies, evidence)  # 5
        return Case(mail_id, envelope, message, tree, evidence, policies, verdicts, opened)

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

    async def _look_up(self, envelope: Envelope) -> tuple[Policy, ...]:
        return tuple(effective.policy for effective in await self._policies.of_all(envelope))

    def _decide(self, envelope: Envelope, policies: Sequence[Policy], evidence: Evidence) -> tuple[Verdict, ...]:
        """A verdict for each recipient; those with one policy share one."""
        decided: dict[tuple[int, bool], Verdict] = {}
        verdicts = []
        for recipient, policy in zip(envelope.recipients, policies, strict=True):
            key = id(policy), self._site.local.has(recipient.address)
            if key not in decided:
                decided[key] = decide(evidence, policy, local=key[1])
            verdicts.append(decided[key])
        return tuple(verdicts)

    async def _inspect(self, subject: Subject, policies: Sequence[Policy]) -> Evidence:
        """Ask everybody whom somebody wants asked, at the same time, under one deadline."""
        distinct = {id(policy): policy for policy in policies}.values()
        asked = [one for one in self._inspectors if any(wants(policy, one.name) for policy in distinct)]
        reports = await asyncio.gather(*(self._ask(inspector, subject) for inspector in asked))
        findings = _not_looked_into(subject.tree) + subject.opened.findings
        findings = abridged(findings + tuple(finding for report in reports for finding in report))
        doubts = {finding.inspector for finding in findings if finding.kind in (Kind.FAILURE, Kind.UNCHECKED)}
        scanned = any(one.name == "clamd" for one in asked) and "clamd" not in doubts
        return Evidence(findings, len(subject.message), scanned, self._site.on_failure)

    async def _ask(self, inspector: Inspector, subject: Subject) -> tuple[Finding, ...]:
        try:
            async with asyncio.timeout(self._site.inspect_timeout):
                findings = await inspector.inspect(subject)
        except TimeoutError:
            problem = f"no answer in {self._site.inspect_timeout:g} s"
        except FilterError as error:
            problem = str(error)
        except Exception:
            maillog.unforeseen(subject.mail_id, f"asking {inspector.name}")
            problem = "unforeseen error"
        else:
            for finding in findings:
                if finding.kind is Kind.FAILURE:
                    maillog.inspector_failed(subject.mail_id, inspector.name, finding.name)
            return findings
        maillog.inspector_failed(subject.mail_id, inspector.name, problem)
        return (Finding(Kind.FAILURE, inspector.name, problem),)

    async def _carry_out(self, case: Case) -> list[Outcome]:
        """Keep, group, send. The outcomes stand in the order of the recipients."""
        if case.envelope.protocol is not Protocol.LMTP and must_wait(case.verdicts):
            return [
                Outcome(recipient, verdict, _own_deferral(verdict) or reply.MIXED_DEFERRAL)
                for recipient, verdict in _pairs(case)
            ]
        failed = await self._keep(case)  # 6
        replies: list[Reply | None] = [
            failed if verdict.quarantine and failed else verdict.reply for verdict in case.verdicts
        ]
        deadline = time.monotonic() + self._site.send_timeout
        for marking, members in _groups(case, replies).items():  # 7
            if case.envelope.protocol is not Protocol.LMTP and any(one and one.temporary for one in replies):
                break  # the whole message will come again: nobody else is served twice
            if time.monotonic() >= deadline:
                maillog.too_late(case.mail_id, replies.count(None), self._site.send_timeout)
                break
            answers = await self._send(case, marking, members, deadline)  # 8
            for index, answer in zip(members, answers, strict=True):
                replies[index] = answer
        return [
            Outcome(recipient, verdict, answer or reply.MIXED_DEFERRAL)
            for (recipient, verdict), answer in zip(_pairs(case), replies, strict=True)
        ]

    async def _keep(self, case: Case) -> Reply | None:
        """The reply for those whose copy could not be kept, None if all is safe."""
        kept_for = [(recipient, verdict) for recipient, verdict in _pairs(case) if verdict.quarantine]
        if not kept_for:
            return None
        try:
            await self._store(case, case.mail_id, kept_for)
        except QuarantineError as error:
            maillog.step_failed(case.mail_id, "keeping a quarantine copy", error)
            return error.reply
        return None

    async def _store(self, case: Case, item_id: str, recipients: Sequence[tuple[Recipient, Verdict]]) -> None:
        def keep() -> None:
            self._quarantine.keep(_record(case, item_id, recipients), case.message)

        await asyncio.to_thread(keep)

    async def _send(self, case: Case, marking: Marking, members: Sequence[int], deadline: float) -> tuple[Reply, ...]:
        """To one group. Who waits for us has a limit to its patience: what is not done by then is done again."""
        recipients = [case.envelope.recipients[index] for index in members]
        received = received_field(case.envelope, recipients, case.mail_id, self._site.hostname)
        arguments = case.message.buffer, case.tree.header, marking, received, self._site.hostname
        edits = edits_for(*arguments) if case.tree.header.complete else await asyncio.to_thread(edits_for, *arguments)
        size = len(case.message) + edits.growth
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._next_hop.send(case.envelope, recipients, lambda: case.message.edited(edits), size)
        except TimeoutError:
            maillog.too_late(case.mail_id, len(recipients), self._site.send_timeout)
            return (reply.NEXT_HOP_LOST,) * len(recipients)

    async def _answer(self, case: Case, outcomes: Sequence[Outcome]) -> tuple[Reply, ...]:
        answer = None
        if case.envelope.protocol is not Protocol.LMTP:
            answer, refused = single_reply(outcomes)
            if refused and not await self._account_for(case, refused):
                answer = reply.MIXED_DEFERRAL
        if copy_is_void(outcomes, answer):
            await self._withdraw(case)
        return tuple(outcome.reply for outcome in outcomes) if answer is None else (answer,)

    async def _withdraw(self, case: Case) -> None:
        try:
            await asyncio.to_thread(self._quarantine.withdraw, case.mail_id)
        except QuarantineError as error:
            maillog.step_failed(case.mail_id, "withdrawing a quarantine copy", error)

    async def _account_for(self, case: Case, refused: Sequence[Outcome]) -> bool:
        """Report recipients that a 250 would hide: to the sender, else in quarantine. False if neither worked."""
        if not case.envelope.mail_from:
            return await self._keep_refused(case, refused, "the sender is null")
        wanting = [outcome for outcome in refused if outcome.recipient.wants_failure_report]
        if not wanting:
            return True
        answer = await self._report(case, wanting)
        if answer.positive:
            maillog.reported(case.mail_id, case.envelope.mail_from, _addresses(wanting))
            return True
        return await self._keep_refused(case, wanting, f"the report was answered {answer}")

    async def _report(self, case: Case, refused: Sequence[Outcome]) -> Reply:
        sender = Recipient(case.envelope.mail_from)
        envelope = Envelope("", (sender,), smtputf8=case.envelope.smtputf8, body="8BITMIME")
        report = failure_report(
            case.envelope,
            [(outcome.recipient, outcome.reply) for outcome in refused],
            case.message,
            hostname=self._site.hostname,
            mail_id=case.mail_id,
            subject=_text(case, "subject"),
            with_body=all(outcome.verdict.category < Category.UNCHECKED for outcome in refused),
        )
        (answer,) = await self._next_hop.send(envelope, (sender,), lambda: iter((report,)), len(report))
        return answer

    async def _keep_refused(self, case: Case, refused: Sequence[Outcome], why: str) -> bool:
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


def _pairs(case: Case) -> list[tuple[Recipient, Verdict]]:
    return list(zip(case.envelope.recipients, case.verdicts, strict=True))


def _text(case: Case, name: str) -> str:
    field = case.tree.header.get(name)
    return field.text if field else ""


def _facts(case: Case) -> maillog.Facts:
    return maillog.Facts(case.mail_id, case.envelope, _text(case, "message-id"), len(case.message), case.score)


def _record(case: Case, item_id: str, recipients: Sequence[tuple[Recipient, Verdict]]) -> Record:
    """What the quarantine keeps. A recipient to whom the message also passes has nothing left to be released."""
    withheld = tuple(
        Withheld(
            recipient,
            verdict.category,
            verdict.action,
            verdict.reasons,
            State.DELIVERED if verdict.action is Action.PASS and item_id == case.mail_id else State.PENDING,
        )
        for recipient, verdict in recipients
    )
    return Record.of(
        item_id,
        case.envelope,
        case.message,
        withheld,
        findings=case.evidence.findings,
        score=case.score,
        subject=_text(case, "subject"),
        message_id=_text(case, "message-id"),
    )


def _own_deferral(verdict: Verdict) -> Reply | None:
    return verdict.reply if verdict.action is Action.DEFER else None


def _addresses(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.recipient.address for outcome in outcomes]


def _spam_users(policies: Sequence[Policy]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(policy.spam_user for policy in policies if not policy.bypass_spam_checks))


def _banned_rules(policies: Sequence[Policy]) -> tuple[tuple[str, ...], ...]:
    return tuple(dict.fromkeys(policy.banned_rules for policy in policies if wants(policy, "banned")))


def _not_looked_into(tree: Tree) -> tuple[Finding, ...]:
    limits = tuple(Finding(Kind.UNCHECKED, "mime", limit) for limit in tree.exceeded)
    return limits + tuple(Finding(Kind.UNCHECKED, "mime", name, path) for name, path in tree.unchecked)


def _groups(case: Case, replies: Sequence[Reply | None]) -> dict[Marking, list[int]]:
    """The recipients still to be served, by what their copy of the message looks like."""
    groups: dict[Marking, list[int]] = {}
    for index, verdict in enumerate(case.verdicts):
        if verdict.action is Action.PASS and replies[index] is None:
            marking = replace(verdict.marking, quarantine_id=case.mail_id if verdict.quarantine else None)
            groups.setdefault(marking, []).append(index)
    return groups
