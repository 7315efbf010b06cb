"""Finds a message that was handled, in the history and in the quarantine, by its id or by Postfix's queue id."""

from __future__ import annotations

from dataclasses import replace

from contentfilter import history
from contentfilter.config import Config
from contentfilter.handled import Group, Handled
from contentfilter.mail_id import is_id
from contentfilter.verdict import Verdict
from quarantine.errors import UnknownIdError
from quarantine.record import Record, Withheld
from quarantine.store import Quarantine


def find(config: Config, name: str) -> list[Handled]:
    """The messages that go by this name, oldest first; nothing if nobody knows of any.

    The history knows every recipient for a few days; a record of the quarantine knows those for whom it was kept, for
    as long as it is kept. Raises OSError, QuarantineError.
    """
    found = history.find(config.state_directory / history.DIRECTORY, name)
    quarantine = Quarantine(config.quarantine.directory, config.quarantine.database)
    try:
        records = {one: record for one in [name, *(each.id for each in found)] if (record := _record(quarantine, one))}
    finally:
        quarantine.close()
    if not found:
        return [of_record(record) for record in records.values()]
    return [_with_states(one, records[one.id]) if one.id in records else one for one in found]


def _record(quarantine: Quarantine, mail_id: str) -> Record | None:
    try:
        return quarantine.read(mail_id) if is_id(mail_id) else None
    except UnknownIdError:
        return None


def _with_states(handled: Handled, record: Record) -> Handled:
    states = {one.recipient.address: one.state.value for one in record.withheld}
    groups = (
        replace(group, states={address: states[address] for address in group.recipients if address in states})
        for group in handled.groups
    )
    return replace(handled, groups=tuple(groups))


def of_record(record: Record) -> Handled:
    """What the record of a quarantined item tells; recipients who fared alike in one group."""
    alike: dict[object, list[Withheld]] = {}
    for one in record.withheld:
        settings = None if one.effective is None else (one.effective.entries, one.effective.listing)
        alike.setdefault((verdict_of(one), one.reasons, settings), []).append(one)
    return Handled(
        id=record.id,
        time=record.time,
        mail_from=record.mail_from,
        groups=tuple(_group(members) for members in alike.values()),
        size=record.size,
        findings=record.findings,
        on_failure=record.on_failure,
        client=record.client,
        message_id=record.message_id,
        subject=record.subject,
    )


def _group(members: list[Withheld]) -> Group:
    states = {one.recipient.address: one.state.value for one in members}
    return Group(
        tuple(one.recipient.address for one in members), verdict_of(members[0]), members[0].effective, states=states
    )


def verdict_of(one: Withheld) -> Verdict:
    """The verdict of a recipient for whom an item is kept."""
    return Verdict(
        one.category, one.action, quarantine=one.quarantine, reasons=one.reasons, local=one.local, score=one.score
    )
