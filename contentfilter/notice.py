"""Notices: to recipients whose message was withheld, and to administrators who asked to be told. Pure.

RFC 3834: sent from the null sender, with Auto-Submitted, to addresses that a policy names or that are our own; never to
a sender, who may be forged. One notice goes to all to whom it says the same.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from email.message import MIMEPart
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from contentfilter.case import Case
from contentfilter.envelope import Recipient
from contentfilter.outcome import Outcome
from contentfilter.policy.entry import Effective
from contentfilter.printable import printable
from contentfilter.verdict import Action, Category, Verdict

MOST_NAMED = 50
"""Recipients and findings that a notice names."""
_LONGEST = 200
"""Characters of anything from outside that a notice shows."""

_WHY = {
    Category.VIRUS: "it contains a virus",
    Category.BANNED: "it contains an attachment of a kind that is not accepted",
    Category.RULE: "a rule of this site says so",
    Category.UNCHECKED: "it, or something in it such as an encrypted archive, could not be inspected",
    Category.SPAM: "it looks like spam",
    Category.BAD_HEADER: "its header is not well formed",
    Category.OVERSIZED: "it is larger than you accept",
}
_DONE = {
    Action.PASS: "delivered",
    Action.DISCARD: "withheld",
    Action.REJECT: "refused",
    Action.DEFER: "deferred",
}

_TO_RECIPIENTS = """\
This is the content filter of {host}.

A message for you was {done}, because {why}.

{facts}
{found}
{wanted}

Nobody has answered the sender in your name.
"""

_KEPT = "A copy is kept in quarantine. If you expect this message, write to postmaster@{host} and quote {reference}."
_GONE = "No copy was kept. If you expect this message, ask its sender; our reference is {reference}."

_TO_ADMINISTRATOR = """\
This is the content filter of {host}.

{facts}
{recipients}

{found}
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message of ours. recipients: who gets it; content: the whole message, lines ending in CRLF."""

    recipients: tuple[Recipient, ...]
    content: bytes

    @property
    def smtputf8(self) -> bool:
        """Whether an address is not ASCII (RFC 6531)."""
        return not all(one.address.isascii() for one in self.recipients)


def notices(case: Case, outcomes: Sequence[Outcome], hostname: str) -> list[Notice]:
    """What is to be told about a message whose outcomes are final. hostname: who we are.

    outcomes: in the order of the case's recipients. Who will be tried again is told nothing yet.
    """
    final = [
        (outcome, effective)
        for outcome, effective in zip(outcomes, case.effective, strict=True)
        if not outcome.reply.temporary and outcome.verdict.shadowed is None
    ]
    # Where there are too many notices, those to recipients are the many.
    return [*_to_administrators(case, final, hostname), *_to_recipients(case, final, hostname)]


Final = Sequence[tuple[Outcome, Effective]]


def _to_recipients(case: Case, final: Final, hostname: str) -> Iterator[Notice]:
    groups: dict[tuple[Verdict, tuple[str, ...]], list[Recipient]] = {}
    # Many recipients share a verdict, which is looked at once.
    of_verdict: dict[int, list[Recipient]] = {}
    for outcome, effective in final:
        verdict = outcome.verdict
        withheld = verdict.action in (Action.DISCARD, Action.REJECT)
        if withheld and verdict.local and effective.policy.warns(verdict.category):
            if id(verdict) not in of_verdict:
                key = replace(verdict, reasons=()), verdict.reasons
                of_verdict[id(verdict)] = groups.setdefault(key, [])
            of_verdict[id(verdict)].append(Recipient(outcome.recipient.address, notify=("NEVER",)))
    for (verdict, reasons), recipients in groups.items():
        text = _TO_RECIPIENTS.format(
            host=hostname,
            done=_DONE[verdict.action],
            why=_WHY.get(verdict.category, "of what it holds"),
            facts=_facts(case),
            found=_list("Found", reasons),
            wanted=(_KEPT if verdict.quarantine else _GONE).format(host=hostname, reference=case.mail_id),
        )
        subject = f"A message for you was {_DONE[verdict.action]} [{case.mail_id}]"
        yield Notice(tuple(recipients), _message(hostname, "undisclosed-recipients:;", subject, text))


def _to_administrators(case: Case, final: Final, hostname: str) -> Iterator[Notice]:
    groups: dict[str, list[Outcome]] = {}
    for outcome, effective in final:
        admin = effective.policy.admin(outcome.verdict.category)
        if admin:
            groups.setdefault(admin, []).append(outcome)
    for admin, outcomes in groups.items():
        gravest = max(outcome.verdict.category for outcome in outcomes)
        text = _TO_ADMINISTRATOR.format(
            host=hostname,
            facts=f"{_facts(case)}\n  Client:    [{_short(case.envelope.client.addr or 'unknown')}]\n"
            f"  Queue id:  {_short(case.envelope.client.ident or 'unknown')}\n  Reference: {case.mail_id}",
            recipients=_list("Recipients", map(_fate, outcomes)),
            found=_list("Found", dict.fromkeys(reason for one in outcomes for reason in one.verdict.reasons)),
        )
        subject = f"{gravest.log_word} in mail for {len(outcomes)} of our recipients [{case.mail_id}]"
        yield Notice((Recipient(admin, notify=("NEVER",)),), _message(hostname, f"<{admin}>", subject, text))


def _fate(outcome: Outcome) -> str:
    kept = ", kept in quarantine" if outcome.verdict.quarantine else ""
    return f"<{outcome.recipient.address}> {_DONE[outcome.verdict.action]}{kept}"


def _facts(case: Case) -> str:
    return "\n".join(
        (
            f"  From:      <{_short(case.envelope.mail_from)}>",
            f"  Subject:   {_short(case.text('subject'))}",
            f"  Received:  {formatdate(case.envelope.received_at, localtime=True)}",
            f"  Size:      {len(case.message)} bytes",
        )
    )


def _short(text: str) -> str:
    return printable(text[:_LONGEST])


def _list(heading: str, lines: Iterable[str]) -> str:
    all_lines = list(lines)
    shown = [textwrap.indent("\n".join(textwrap.wrap(_short(line), 72)), "  ") for line in all_lines[:MOST_NAMED]]
    more = len(all_lines) - MOST_NAMED
    return "\n".join((f"{heading}:", *shown, *([f"  and {more} more"] if more > 0 else [])))


def _message(hostname: str, to: str, subject: str, text: str) -> bytes:
    """The message. Nothing from outside is in its header: the email package would decode encoded words in it."""
    part = MIMEPart(policy=SMTP)
    part.set_content(text, cte="quoted-printable")
    fields = (
        ("From", f"Content filter <postmaster@{hostname}>"),
        ("To", to),
        ("Subject", subject),
        ("Date", formatdate(localtime=True)),
        ("Message-ID", make_msgid(domain=hostname)),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
    )
    # Raw UTF-8 in a header asks for SMTPUTF8, which is used where an address needs it.
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return head.encode() + part.as_bytes()
