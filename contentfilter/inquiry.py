"""An inquiry: all who are asked about one message, and what their answers, or their silence, come to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self

from contentfilter import maillog
from contentfilter.age import age_of
from contentfilter.errors import FilterError, InspectorTimeoutError
from contentfilter.evidence import Evidence, abridged
from contentfilter.failure import OnFailure, in_force
from contentfilter.finding import Finding, Kind, RuleAction
from contentfilter.inspectors import Inspector, Remote, Subject
from contentfilter.mime import Tree
from contentfilter.patience import paused
from contentfilter.unpack.unpacked import NOTHING, Unpacked


@dataclass(frozen=True, slots=True)
class Terms:
    """timeout: seconds for all inspectors; on_failure, failure_grace: by inspector, see :func:`in_force`."""

    timeout: float
    on_failure: Mapping[str, OnFailure]
    failure_grace: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Askable:
    """An inspector. remote: it asks another process; early: it looks at the message alone, not into containers."""

    inspector: Inspector
    remote: Remote | None
    early: bool

    @classmethod
    def of(cls, inspector: Inspector) -> Askable:
        """Looked at once: to find out takes longer than many an inspection."""
        remote = inspector if isinstance(inspector, Remote) else None
        return cls(inspector, remote, remote is not None and not remote.looks_inside)


class Inquiry:
    """All are asked at the same time, and under one deadline.

    Those who look at the message alone are asked at once, as nobody takes longer than a spam scanner; the others when
    its containers are open. A context manager: who has not answered at its end is given up.
    """

    def __init__(self, terms: Terms, asked: Sequence[Askable], subject: Subject) -> None:
        self._terms = terms
        self._asked = asked
        self._subject = subject
        self._answers: dict[str, asyncio.Task[_Report]] = {}

    async def __aenter__(self) -> Self:
        await self._begin([one for one in self._asked if one.early], self._subject)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pending = [answer for answer in self._answers.values() if not answer.done()]
        for answer in pending:
            answer.cancel()
        if pending:
            await asyncio.wait(pending)  # they look at a message that is about to be closed

    async def _begin(self, those: Sequence[Askable], subject: Subject) -> None:
        by_then = self._deadline()
        for one in those:
            self._answers[one.inspector.name] = asyncio.create_task(self._ask(one, subject, by_then))
        if those:
            await asyncio.sleep(0)  # a task does not begin before we wait for something

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._terms.timeout

    async def conclude(self, opened: Unpacked) -> tuple[Evidence, str]:
        """Ask the others. What all of them found, and what harm the message did to them, "" for none."""
        subject = self._subject if opened is NOTHING else replace(self._subject, opened=opened)
        by_then = self._deadline()
        await self._begin([one for one in self._asked if one.remote is not None and not one.early], subject)
        # While other processes work we look ourselves, one thing after the other.
        own = {one.inspector.name: await self._ask(one, subject, by_then) for one in self._asked if one.remote is None}
        names = [one.inspector.name for one in self._asked]
        reports = [own[name] if name in own else await self._answers[name] for name in names]
        findings = _not_looked_into(subject.tree) + opened.findings
        findings = abridged(findings + tuple(finding for report in reports for finding in report.findings))
        doubts = {finding.inspector for finding in findings if finding.kind in (Kind.FAILURE, Kind.UNCHECKED)}
        scanned = "clamd" in names and "clamd" not in doubts
        hung = [name for name, report in zip(names, reports, strict=True) if report.hung]
        harm = f"{', '.join(hung)} did not answer in time" if hung else ""
        return Evidence(findings, len(subject.message), scanned, self._modes()), harm

    def _modes(self) -> Mapping[str, OnFailure]:
        terms, subject = self._terms, self._subject
        if not any(terms.failure_grace.values()):
            return terms.on_failure
        age = age_of(subject.tree.header, subject.envelope.received_at)
        return in_force(terms.on_failure, terms.failure_grace, age)

    async def _ask(self, one: Askable, subject: Subject, by_then: float) -> _Report:
        inspector, remote = one.inspector, one.remote
        timed_out = False
        try:
            async with asyncio.timeout_at(by_then) as limit:
                if remote is not None:
                    subject = replace(subject, pause=partial(paused, limit))
                findings = await inspector.inspect(subject)
        except TimeoutError:
            problem, timed_out = f"no answer in {self._terms.timeout:g} s", True
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
        hung = timed_out and (remote is None or await remote.answers())
        return _Report((Finding(Kind.FAILURE, inspector.name, problem),), hung)


@dataclass(frozen=True, slots=True)
class _Report:
    """What an inspector found. hung: it is in order, and took too long over this message."""

    findings: tuple[Finding, ...]
    hung: bool = False


def _not_looked_into(tree: Tree) -> tuple[Finding, ...]:
    limits = tuple(Finding(Kind.UNCHECKED, "mime", limit) for limit in tree.exceeded)
    return limits + tuple(Finding(Kind.UNCHECKED, "mime", name, path) for name, path in tree.unchecked)
