"""How a message is judged: the steps of the journey up to the verdicts, each with its costs and its failures.

:mod:`contentfilter.pipeline` says in which order they come. Nothing here sends, stores or changes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from contentfilter import maillog, reply
from contentfilter.age import age_of
from contentfilter.case import Case
from contentfilter.decision import Evidence, abridged, decide, is_local, wants
from contentfilter.domains import LocalDomains
from contentfilter.envelope import Envelope
from contentfilter.errors import FilterError, InspectorTimeoutError
from contentfilter.failure import OnFailure, in_force
from contentfilter.fields import hops, own_marks
from contentfilter.finding import Finding, Kind, RuleAction
from contentfilter.inspectors import Inspector, Remote, Subject
from contentfilter.large_work import in_thread
from contentfilter.ledger import Known
from contentfilter.message import Message
from contentfilter.mime import Limits, Tree, parse
from contentfilter.patience import paused
from contentfilter.policy.entry import Effective
from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action, Category, Verdict

PARSE_IN_THREAD = 262_144
"""Bytes from which a message is taken apart in a thread: about the size where it costs the loop a millisecond."""

DECIDE_IN_THREAD = 1000
"""Findings times policies from which verdicts are made in a thread; two milliseconds."""

POISON = "poison"
"""Who reports a message that is set apart because it did harm again and again."""


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


class Judging:
    """The steps, for messages at this site."""

    def __init__(self, site: Site, inspectors: Sequence[Inspector]) -> None:
        self._site = site
        self._inspectors = tuple(inspectors)
        self._remote = frozenset(one.name for one in inspectors if isinstance(one, Remote))

    async def take_apart(self, message: Message) -> Tree:
        """Its parts, in every reading."""
        if len(message) < PARSE_IN_THREAD:
            return parse(message.buffer, self._site.mime_limits)
        tree = await in_thread(parse, message.buffer, self._site.mime_limits)
        message.rest()
        return tree

    def check_loop(self, tree: Tree) -> None:
        """Raises FilterError for a message that goes in circles."""
        passes = own_marks(tree.header, self._site.hostname)
        if passes >= self._site.max_passes:
            problem = f"passed through here {passes} times; is content_filter empty on the reinjection port?"
            raise FilterError(f"mail loop: {problem}", reply.MAIL_LOOP)
        if hops(tree.header) > self._site.max_hops:
            raise FilterError(f"mail loop: more than {self._site.max_hops} hops", reply.MAIL_LOOP)

    async def decide(
        self, envelope: Envelope, effective: Sequence[Effective], evidence: Evidence
    ) -> tuple[Verdict, ...]:
        """A verdict for each recipient; those with one policy share one."""
        at_home = [self._site.local.has(recipient.address) for recipient in envelope.recipients]
        asked = {(id(one), local): (one, local) for one, local in zip(effective, at_home, strict=True)}

        def decided() -> dict[tuple[int, bool], Verdict]:
            return {key: decide(evidence, one, local=local) for key, (one, local) in asked.items()}

        much = len(asked) * len(evidence.findings) >= DECIDE_IN_THREAD
        verdicts = await in_thread(decided) if much else decided()
        return tuple(verdicts[id(one), local] for one, local in zip(effective, at_home, strict=True))

    async def inspect(self, subject: Subject, policies: Sequence[Policy]) -> tuple[Evidence, str]:
        """Ask everybody whom somebody wants asked, at the same time, under one deadline.

        Also what harm the message did to those who were asked, "" for none.
        """
        distinct = {id(policy): policy for policy in policies}.values()
        asked = [one for one in self._inspectors if any(wants(policy, one.name) for policy in distinct)]
        reports = await self._ask_all(asked, subject)
        findings = _not_looked_into(subject.tree) + subject.opened.findings
        findings = abridged(findings + tuple(finding for report in reports for finding in report.findings))
        doubts = {finding.inspector for finding in findings if finding.kind in (Kind.FAILURE, Kind.UNCHECKED)}
        scanned = any(one.name == "clamd" for one in asked) and "clamd" not in doubts
        modes = self._modes(subject) if any(self._site.failure_grace.values()) else self._site.on_failure
        hung = [one.name for one, report in zip(asked, reports, strict=True) if report.hung]
        harm = f"{', '.join(hung)} did not answer in time" if hung else ""
        return Evidence(findings, len(subject.message), scanned, modes), harm

    async def _ask_all(self, asked: Sequence[Inspector], subject: Subject) -> list[_Report]:
        """Their reports, in their order. While other processes work we look ourselves, one thing after the other."""
        by_then = asyncio.get_running_loop().time() + self._site.inspect_timeout
        async with asyncio.TaskGroup() as group:
            remote = {
                one.name: group.create_task(self._ask(one, subject, by_then))
                for one in asked
                if one.name in self._remote
            }
            if remote:
                await asyncio.sleep(0)  # a task does not begin before we wait for something
            own = {one.name: await self._ask(one, subject, by_then) for one in asked if one.name not in self._remote}
        return [own[one.name] if one.name in own else remote[one.name].result() for one in asked]

    def _modes(self, subject: Subject) -> Mapping[str, OnFailure]:
        age = age_of(subject.tree.header, subject.envelope.received_at)
        return in_force(self._site.on_failure, self._site.failure_grace, age)

    async def _ask(self, inspector: Inspector, subject: Subject, by_then: float) -> _Report:
        timed_out = False
        try:
            async with asyncio.timeout_at(by_then) as limit:
                if inspector.name in self._remote:
                    subject = replace(subject, pause=partial(paused, limit))
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

    def isolated(
        self, mail_id: str, envelope: Envelope, message: Message, effective: Sequence[Effective], known: Known
    ) -> Case:
        """A case of which nobody looked at the message, because that did harm: withheld from everybody, and kept."""
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
        return Case(mail_id, envelope, message, parse(b""), evidence, tuple(effective), verdicts)


@dataclass(frozen=True, slots=True)
class _Report:
    """What an inspector found. hung: it is in order, and took too long over this message."""

    findings: tuple[Finding, ...]
    hung: bool = False


def wanted(policies: Sequence[Policy]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Whose preferences of SpamAssassin, and which combinations of banned rules: each once, of those who want it."""
    users = dict.fromkeys(policy.spam_user for policy in policies if not policy.bypass_spam_checks)
    rules = dict.fromkeys(policy.banned_rules for policy in policies if wants(policy, "banned"))
    return tuple(users), tuple(rules)


def _not_looked_into(tree: Tree) -> tuple[Finding, ...]:
    limits = tuple(Finding(Kind.UNCHECKED, "mime", limit) for limit in tree.exceeded)
    return limits + tuple(Finding(Kind.UNCHECKED, "mime", name, path) for name, path in tree.unchecked)
