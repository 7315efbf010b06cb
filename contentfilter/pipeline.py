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
from dataclasses import dataclass, field
from typing import Protocol as Interface

from contentfilter import maillog, reply
from contentfilter.age import age_of
from contentfilter.case import Case, Copy
from contentfilter.decision import Evidence, abridged, decide, wants
from contentfilter.delivery import Delivery
from contentfilter.delivery_report import failure_report
from contentfilter.domains import LocalDomains
from contentfilter.envelope import Envelope, Protocol, Recipient
from contentfilter.errors import FilterError, QuarantineError
from contentfilter.failure import OnFailure, in_force
from contentfilter.fields import hops, own_marks
from contentfilter.finding import Finding, Kind, RuleAction
from contentfilter.inspectors import Inspector, Subject
from contentfilter.mail_id import new_id
from contentfilter.message import Message
from contentfilter.mime import Limits, Tree, parse
from contentfilter.notice import notices
from contentfilter.notifier import Notifier
from contentfilter.outcome import Outcome, as_told, copy_is_void, must_wait, single_reply
from contentfilter.policy.entry import Effective
from contentfilter.policy.lookup import Policies
from contentfilter.policy.settings import Policy
from contentfilter.reply import Reply
from contentfilter.routes import Way
from contentfilter.unpack.unpacked import Unpacked
from contentfilter.verdict import Action, Category, Verdict
from quarantine.record import Record, State, Withheld

PARSE_IN_THREAD = 262_144
"""Bytes from which a message is taken apart in a thread: about the size where it costs the loop a millisecond."""

DECIDE_IN_THREAD = 1000
"""Findings times policies from which verdicts are made in a thread; two milliseconds."""


class Keeper(Interface):
    """What the journey needs of the quarantine. Both calls block; they run in a thread."""

    def keep(self, record: Record, message: Message) -> None:
        """Return when the copy is safe on disk. Raises QuarantineError."""
        ...

    def withdraw(self, mail_id: str) -> None:
        """Undo keep: the sender was told to try again after all. Raises QuarantineError."""
        ...


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
    recipient_delimiter: Postfix's, "" for none; failure_grace: seconds by inspector, see :func:`in_force`.
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
    ) -> None:
        self._site = site
        self._policies = policies
        self._inspectors = tuple(inspectors)
        self._next_hop = next_hop
        self._delivery = Delivery(next_hop, site.hostname, site.recipient_delimiter)
        self._notifier = Notifier(next_hop)
        self._quarantine = quarantine
        self._box = box
        self._history = history

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
        self._notify(case, told)  # 9
        maillog.judged(_facts(case), told, round((time.monotonic() - began) * 1000))  # 10
        if self._history is not None:
            self._history.note(case, told)
        return answers

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
            evidence = await self._inspect(subject, policies)  # 4
            verdicts = await self._decide(envelope, effective, evidence)  # 5
        except BaseException:
            opened.close()
            raise
        return Case(mail_id, envelope, message, tree, evidence, effective, verdicts, opened)

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

    async def _inspect(self, subject: Subject, policies: Sequence[Policy]) -> Evidence:
        """Ask everybody whom somebody wants asked, at the same time, under one deadline."""
        distinct = {id(policy): policy for policy in policies}.values()
        asked = [one for one in self._inspectors if any(wants(policy, one.name) for policy in distinct)]
        reports = await asyncio.gather(*(self._ask(inspector, subject) for inspector in asked))
        findings = _not_looked_into(subject.tree) + subject.opened.findings
        findings = abridged(findings + tuple(finding for report in reports for finding in report))
        doubts = {finding.inspector for finding in findings if finding.kind in (Kind.FAILURE, Kind.UNCHECKED)}
        scanned = any(one.name == "clamd" for one in asked) and "clamd" not in doubts
        age = age_of(subject.tree.header, subject.envelope.received_at)
        modes = in_force(self._site.on_failure, self._site.failure_grace, age)
        return Evidence(findings, len(subject.message), scanned, modes)

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
                elif finding.rule is not None and finding.rule.action in (RuleAction.WARN, RuleAction.INFO):
                    maillog.rule_hit(subject.mail_id, finding)
            return findings
        maillog.inspector_failed(subject.mail_id, inspector.name, problem)
        return (Finding(Kind.FAILURE, inspector.name, problem),)

    async def _carry_out(self, case: Case) -> list[Outcome]:
        """Keep, group, send. The outcomes stand in the order of the recipients."""
        if case.envelope.protocol is not Protocol.LMTP and must_wait(case.verdicts):
            return [
                Outcome(recipient, verdict, _own_deferral(verdict) or reply.MIXED_DEFERRAL)
                for recipient, verdict in case.recipients
            ]
        failed = await self._keep(case)  # 6
        replies: list[Reply | None] = [
            failed if verdict.quarantine and failed else verdict.reply for verdict in case.verdicts
        ]
        await self._send_all(case, replies)  # 7 and 8
        return [
            Outcome(recipient, verdict, answer or reply.MIXED_DEFERRAL)
            for (recipient, verdict), answer in zip(case.recipients, replies, strict=True)
        ]

    async def _send_all(self, case: Case, replies: list[Reply | None]) -> None:
        """Send to each group and put its replies in. Whom nobody could be asked about keeps none."""
        deadline = time.monotonic() + self._site.send_timeout
        one_reply = case.envelope.protocol is not Protocol.LMTP
        served: dict[str, Reply] = {}
        groups = case.groups(replies)
        for copy, members in groups.items():
            if one_reply and any(one is not None and one.temporary for one in replies):
                return  # the whole message will come again: nobody else is served twice
            if time.monotonic() >= deadline:
                maillog.too_late(case.mail_id, replies.count(None))
                break
            answers = await self._send(case, copy, members, served, deadline)
            for index, answer in zip(members, answers, strict=True):
                replies[index] = answer
        if one_reply and any(one is None or one.temporary for one in replies):
            return
        copied: set[str] = set()
        for copy, members in groups.items():
            bcc = [address for address in copy.bcc if address not in copied]
            if bcc and any(_positive(replies[index]) for index in members):
                await self._delivery.add(case, copy, bcc, deadline)
                copied.update(bcc)

    async def _send(
        self, case: Case, copy: Copy, members: Sequence[int], served: dict[str, Reply], deadline: float
    ) -> Sequence[Reply]:
        """A group that fails takes no other along: those who are served already would be served again."""
        try:
            return await self._delivery.send(case, copy, members, served, deadline)
        except Exception:
            maillog.unforeseen(case.mail_id, "sending")
            return [reply.INTERNAL] * len(members)

    async def _keep(self, case: Case) -> Reply | None:
        """The reply for those whose copy could not be kept, None if all is safe."""
        kept_for = [(recipient, verdict) for recipient, verdict in case.recipients if verdict.quarantine]
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
        try:
            report = failure_report(
                case.envelope,
                [(outcome.recipient, outcome.reply) for outcome in refused],
                case.message,
                hostname=self._site.hostname,
                mail_id=case.mail_id,
                subject=case.text("subject"),
                with_body=all(outcome.verdict.category < Category.UNCHECKED for outcome in refused),
            )
            (answer,) = await self._next_hop.send(envelope, (sender,), lambda: iter((report,)), len(report))
        except Exception:
            # Others are served: they would be served again.
            maillog.unforeseen(case.mail_id, "reporting to the sender")
            return reply.INTERNAL
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


def _facts(case: Case) -> maillog.Facts:
    return maillog.Facts(case.mail_id, case.envelope, case.text("message-id"), len(case.message))


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


def _positive(answer: Reply | None) -> bool:
    return answer is not None and answer.positive


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
