"""Judges quarantined messages again, under another configuration, and says who would fare otherwise.

The whole journey but its end: nothing is sent, stored or noted. A recipient about whom an inspector could not answer
is not judged; that is never taken for "as before".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from contentfilter.case import Case
from contentfilter.envelope import Protocol
from contentfilter.errors import FilterError
from contentfilter.explain.basis import Basis
from contentfilter.explain.counterfactual import written
from contentfilter.explain.hindsight import verdict_of
from contentfilter.finding import Kind
from contentfilter.pipeline import Pipeline
from contentfilter.policy.entry import Effective
from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action, Category, Verdict
from quarantine.errors import UnknownIdError
from quarantine.index import Query
from quarantine.record import Record, Withheld
from quarantine.store import Quarantine

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Rejudged:
    """One recipient. now: None if nothing could be decided, and problem says why.

    settings: those that are others now, "banned_lover: false -> true (alice@example.org in contentfilter.toml)".
    """

    address: str
    before: Verdict
    now: Verdict | None
    problem: str = ""
    settings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the recipient would fare otherwise: another category or action, or a copy kept or not."""
        return self.now is not None and _fate(self.before) != _fate(self.now)


def _fate(verdict: Verdict) -> tuple[Category, Action, bool]:
    return verdict.category, verdict.action, verdict.quarantine


@dataclass(frozen=True, slots=True)
class Replayed:
    """One item, judged again for all for whom it is kept."""

    record: Record
    recipients: tuple[Rejudged, ...]

    @property
    def changed(self) -> bool:
        """Whether anybody would fare otherwise."""
        return any(one.changed for one in self.recipients)

    @property
    def judged(self) -> bool:
        """Whether something could be decided for everybody."""
        return all(one.now is not None for one in self.recipients)


@dataclass(slots=True)
class Tally:
    """What came of all items. changes: recipients, by fate before and now; unread: items that cannot be read."""

    items: int = 0
    recipients: int = 0
    changed: int = 0
    unjudged: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)

    def count(self, item: Replayed) -> None:
        """Add one item."""
        self.items += 1
        for one in item.recipients:
            self.recipients += 1
            if one.now is None:
                self.unjudged += 1
            elif one.changed:
                self.changed += 1
                self.changes[fate(one.before), fate(one.now)] += 1

    @property
    def complete(self) -> bool:
        """Whether everything could be judged."""
        return not self.unjudged and not self.unread


def fate(verdict: Verdict) -> str:
    """A verdict in a few words: "spam, discard, kept"."""
    return f"{verdict.category.word}, {verdict.action.value}" + (", kept" if verdict.quarantine else "")


def ids(quarantine: Quarantine, query: Query, limit: int | None) -> list[str]:
    """The items to judge, newest first. Only ids are held: there may be many. Raises QuarantineError."""
    found: dict[str, None] = {}
    offset = 0
    while limit is None or len(found) < limit:
        page = quarantine.find(query, _PAGE, offset)
        found.update(dict.fromkeys(one.id for one in page))
        if len(page) < _PAGE:
            break
        offset += _PAGE
    return list(found)[:limit]


async def replay(
    pipeline: Pipeline, quarantine: Quarantine, wanted: Sequence[str]
) -> AsyncIterator[tuple[str, Replayed | FilterError | None]]:
    """Each item, one after another, as (id, result): an error if it cannot be read, None if it is gone meanwhile."""
    for mail_id in wanted:
        try:
            yield mail_id, await _judged_again(pipeline, quarantine, mail_id)
        except UnknownIdError:
            yield mail_id, None
        except FilterError as error:
            yield mail_id, error


async def _judged_again(pipeline: Pipeline, quarantine: Quarantine, mail_id: str) -> Replayed:
    record = quarantine.read(mail_id)
    envelope = replace(record.envelope(tuple(one.recipient for one in record.withheld)), protocol=Protocol.LMTP)
    with quarantine.open_message(record) as message:
        try:
            case = await pipeline.judge(mail_id, envelope, message)
        except FilterError as error:
            return Replayed(record, tuple(_not_judged(one, str(error)) for one in record.withheld))
        case.opened.close()
        return Replayed(record, tuple(_rejudged(case, *one) for one in enumerate(record.withheld)))


def _not_judged(one: Withheld, problem: str) -> Rejudged:
    return Rejudged(one.recipient.address, verdict_of(one), None, problem)


def _rejudged(case: Case, index: int, one: Withheld) -> Rejudged:
    effective = case.effective[index]
    if problem := _silence(case, effective):
        return _not_judged(one, problem)
    settings = tuple(_differences(one.effective, effective)) if one.effective is not None else ()
    return Rejudged(one.recipient.address, verdict_of(one), case.verdicts[index], settings=settings)


def _differences(before: Effective, now: Effective) -> Iterator[str]:
    for key in Policy.model_fields:
        was, is_now = getattr(before.policy, key), getattr(now.policy, key)
        if was != is_now:
            yield f"{key}: {written(was)} -> {written(is_now)} ({now.origin(key) or 'built-in default'})"
    if before.listing != now.listing:
        yield f"list entry: {before.listing or 'none'} -> {now.listing or 'none'}"


def _silence(case: Case, effective: Effective) -> str:
    """Which inspector could not answer for this recipient, "" if all did."""
    silent = [one for one in Basis(case.evidence, effective).findings if one.kind is Kind.FAILURE]
    return "; ".join(f"{one.inspector} could not answer: {one.name}" for one in silent)
