"""The mail log: one function per kind of event in a message's journey, the message's id first.

Lines start as amavis's do, so that what people grep for keeps working. Whatever came from outside is made harmless
first: control characters and line ends show as escapes.
"""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from contentfilter.envelope import Client, Envelope
from contentfilter.errors import FilterError
from contentfilter.finding import Finding, RuleAction
from contentfilter.outcome import Outcome
from contentfilter.printable import identified, printable, told
from contentfilter.reply import Reply
from contentfilter.score import format_level
from contentfilter.verdict import Action

_log = logging.getLogger("contentfilter")

RECIPIENTS_A_LINE = 50

_QUEUED_AS = re.compile(r"\bqueued as (\w+)")
_WORDS = {Action.PASS: "Passed", Action.DISCARD: "Blocked", Action.REJECT: "Blocked", Action.DEFER: "Deferred"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What every line about a message tells. mail_id: that of a copy, too; size: bytes."""

    mail_id: str
    envelope: Envelope
    message_id: str
    size: int


def safe(text: str, limit: int = 250) -> str:
    """Text from outside, fit for a log line."""
    return printable(text[:limit])


def judged(facts: Facts, outcomes: Sequence[Outcome], milliseconds: int) -> None:
    """What became of the message: a line for each different outcome, nearly always a single one.

    Of more than RECIPIENTS_A_LINE recipients there are several such lines: a syslog datagram has its limits.
    """
    groups: dict[tuple[str, str, str, float | None], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((*_heading(outcome), outcome.verdict.score), []).append(outcome)
    for (word, category, what, _), group in groups.items():
        tail = _tail(facts, group[0])
        for recipients in _recipients([outcome.recipient.address for outcome in group]):
            _log.info(
                "(%s) %s %s%s, %s<%s> -> %s, %s, %d ms",
                facts.mail_id, word, category, what, _client(facts.envelope.client),
                safe(facts.envelope.mail_from), recipients, tail, milliseconds,
            )  # fmt: skip


def stays_root(file: str) -> None:
    """The filter was started as root, and its configuration has it stay so."""
    _log.warning("%s: user: the filter runs as root, as it says; every fault in it is then one of root", file)


def _recipients(addresses: Sequence[str]) -> Iterator[str]:
    """Addresses as lines show them, as many as go on each."""
    for start in range(0, len(addresses), RECIPIENTS_A_LINE):
        yield ",".join(f"<{safe(address)}>" for address in addresses[start : start + RECIPIENTS_A_LINE])


def _heading(outcome: Outcome) -> tuple[str, str, str]:
    action = Action.DEFER if outcome.reply.temporary else outcome.verdict.action
    word = "Rejected by next hop" if action is Action.PASS and outcome.refused else _WORDS[action]
    names = outcome.verdict.reasons if outcome.verdict.category.names_matter else ()
    what = f" ({safe(names[0].partition(': ')[2])})" if names else ""
    if outcome.verdict.shadowed is not None:
        what += f" [shadow: {_WORDS[outcome.verdict.shadowed.action]}]"
    return word, outcome.verdict.category.log_word, what


def _client(client: Client) -> str:
    return f"[{safe(client.addr)}] " if client.addr else ""


def _tail(facts: Facts, outcome: Outcome) -> str:
    words = []
    if outcome.verdict.quarantine and not outcome.reply.temporary:
        words.append(f"quarantine: {facts.mail_id}")
    if facts.envelope.client.ident:
        words.append(f"Queue-ID: {safe(facts.envelope.client.ident)}")
    if facts.message_id:
        words.append(f"Message-ID: {safe(facts.message_id)}")
    score = outcome.verdict.score
    words.append(f"Hits: {'-' if score is None else format_level(score)}")
    words.append(f"size: {facts.size}")
    queued = _QUEUED_AS.search(outcome.reply.text)
    if queued:
        words.append(f"queued_as: {queued[1]}")
    elif not outcome.reply.positive:
        words.append(f"reply: {safe(str(outcome.reply))}")
    return ", ".join(words)


def inspector_failed(mail_id: str, inspector: str, problem: str) -> None:
    """A scanner could not answer."""
    _log.warning("(%s) %s could not answer: %s", mail_id, inspector, safe(problem, 500))


def rule_hit(mail_id: str, finding: Finding) -> None:
    """A local rule that asks for a line in the log."""
    level = logging.WARNING if finding.rule is not None and finding.rule.action is RuleAction.WARN else logging.INFO
    where = f" in part {finding.part}" if finding.part else ""
    matched = f": {finding.rule.matched}" if finding.rule is not None and finding.rule.matched else ""
    _log.log(level, "(%s) %s%s%s", mail_id, safe(finding.name, 500), where, safe(matched, 200))


def unforeseen(mail_id: str, doing: str) -> None:
    """An exception that nobody foresaw, with its place; the sender keeps the mail."""
    _log.exception("(%s) unforeseen error while %s", mail_id, doing)  # in a line, as _Harmless shows it


def undecided(mail_id: str, envelope: Envelope, error: FilterError) -> None:
    """A message about which nothing could be decided; all its recipients get the error's reply."""
    for recipients in _recipients([one.address for one in envelope.recipients]):
        _log.error(
            "(%s) %s, %s<%s> -> %s, Queue-ID: %s, reply: %s: %s%s",
            mail_id, "Rejected" if error.reply.permanent else "Deferred", _client(envelope.client),
            safe(envelope.mail_from), recipients,
            safe(envelope.client.ident or "-"), error.reply, safe(str(error), 500), _cause(error),
        )  # fmt: skip


def remembered(mail_id: str, envelope: Envelope, answered: Mapping[str, Reply]) -> None:
    """A message came again, and some of its recipients were answered for at an earlier attempt."""
    addresses = [one.address for one in envelope.recipients if one.address in answered]
    for recipients in _recipients(addresses):
        _log.info(
            "(%s) Answered before, %s<%s> -> %s, Queue-ID: %s, reply: %s",
            mail_id, _client(envelope.client), safe(envelope.mail_from), recipients,
            safe(envelope.client.ident or "-"), safe(str(answered[addresses[0]])),
        )  # fmt: skip


def not_remembered(envelope: Envelope, error: FilterError) -> None:
    """The ledger could not be written: a retry of this message may be served twice."""
    _log.error(
        "not remembered who has the message of <%s>, Queue-ID: %s: %s",
        safe(envelope.mail_from), safe(envelope.client.ident or "-"), safe(str(error), 500),
    )  # fmt: skip


def isolated(mail_id: str, envelope: Envelope, count: int, harm: str) -> None:
    """A message did harm again and again, and goes to quarantine without being looked at."""
    _log.error(
        "(%s) set apart as poison after %d failures (%s): <%s>, Queue-ID: %s",
        mail_id, count, safe(harm), safe(envelope.mail_from), safe(envelope.client.ident or "-"),
    )  # fmt: skip


def step_failed(mail_id: str, doing: str, error: Exception) -> None:
    """A step failed in a way we know: the recipients concerned get a temporary reply."""
    _log.error("(%s) %s failed: %s%s", mail_id, doing, safe(str(error), 500), _cause(error))


def _cause(error: Exception) -> str:
    cause = error.__cause__
    if cause is None:
        return ""
    return (
        safe(f": {cause}", 300) if isinstance(cause, OSError) and cause.errno is not None else f": {identified(cause)}"
    )


def too_late(mail_id: str, count: int) -> None:
    """The next hop took so long that recipients are deferred."""
    _log.warning("(%s) not sent to %d recipients in time: deferred", mail_id, count)


def not_copied(mail_id: str, address: str, answer: Reply) -> None:
    """The next hop refused an address that a rule adds with BCC; the recipients are served all the same."""
    _log.error("(%s) no BCC to <%s>: %s", mail_id, safe(address), safe(str(answer)))


def reported(mail_id: str, sender: str, recipients: Sequence[str]) -> None:
    """We told the sender ourselves of recipients that were refused."""
    for some in _recipients(recipients):
        _log.info("(%s) reported to <%s> as failed: %s", mail_id, safe(sender), some)


def notified(mail_id: str, addresses: Sequence[str]) -> None:
    """A notice about a message went out."""
    for some in _recipients(addresses):
        _log.info("(%s) notice sent to %s", mail_id, some)


def not_notified(mail_id: str, addresses: Sequence[str], why: str) -> None:
    """A notice about a message could not be sent; nothing else depends on it."""
    for some in _recipients(addresses):
        _log.warning("(%s) no notice to %s: %s", mail_id, some, safe(why))


def notices_dropped(mail_id: str, count: int, waiting: int) -> None:
    """Under a flood so many notices were dropped; the message is the first that they were about."""
    _log.warning("(%s) and later: %d notices dropped, %d are waiting", mail_id, count, waiting)


def unreported(mail_id: str, recipients: Sequence[str], why: str, quarantine_id: str) -> None:
    """Refused for recipients of whom no report may or can be sent: kept instead."""
    for some in _recipients(recipients):
        _log.warning(
            "(%s) refused for %s without a report: %s, kept in quarantine as %s",
            mail_id, some, safe(why, 500), quarantine_id,
        )  # fmt: skip


class _Harmless(logging.Formatter):
    """Lines in which nothing drives a terminal or stands for another line, whoever logs what. Exceptions are told."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        record.message = record.getMessage()
        line = printable(self.formatMessage(record))  # without the traceback that format would put behind it
        error = record.exc_info[1] if record.exc_info else None
        return line if error is None else f"{line}: {told(error)}"


def set_up(destination: str, level: str, syslog_address: str = "/dev/log") -> None:
    """Send the log to "stderr" or "syslog"; a syslog daemon that is away now may come later."""
    handler: logging.Handler
    if destination == "syslog":
        handler = logging.handlers.SysLogHandler(syslog_address, logging.handlers.SysLogHandler.LOG_MAIL)
        handler.ident = "contentfilter: "
        handler.setFormatter(_Harmless("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Harmless("%(levelname).1s %(process)d %(message)s"))
    for old in _log.handlers:
        old.close()
    _log.handlers[:] = [handler]
    _log.propagate = False
    _log.setLevel(level.upper())
    # What libraries log goes the same way. A log that is full or gone is no reason to print what was to go there.
    others = logging.StreamHandler(sys.stderr)
    others.setLevel(logging.WARNING)
    others.setFormatter(_Harmless("%(levelname).1s %(process)d %(name)s: %(message)s"))
    logging.lastResort = others
    logging.raiseExceptions = False
    # Nothing of this is in our lines, and to find it out takes as long as to write them.
    logging.logThreads = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - as Python's documentation has it
