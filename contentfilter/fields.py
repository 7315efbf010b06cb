"""The header fields that we add, remove and mark. Pure.

Ours go on top, folded at 78 columns, followed by our Received field. Copies of our fields that came in from outside
are removed first: nobody but us says here that a message was scanned or is no spam.
"""

from __future__ import annotations

import email.header
import email.utils
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from contentfilter.envelope import Envelope, Recipient
from contentfilter.folding import UNSAFE_IN_VALUE, fold_field
from contentfilter.marks import OURS
from contentfilter.message import Buffer, HeaderEdits, Replacement
from contentfilter.mime import Field, Header
from contentfilter.score import format_level
from contentfilter.verdict import Marking, SpamMark

_FOREIGN = re.compile(
    rb"^(?:%s)[ \t]*+:[^\n]*+\n?(?:[ \t][^\n]*+\n?)*+" % b"|".join(name.encode() for name in sorted(OURS)),
    re.MULTILINE | re.IGNORECASE,
)
_LONG_LINE = 900
"""A subject line from this length on gets its tag on a line of its own; 998 is the limit of RFC 5322 section 2.1.1."""
_LONGEST_ALERT = 400
_MOST_STARS = 64
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


def edits_for(buffer: Buffer, header: Header, marking: Marking, received: bytes, hostname: str) -> HeaderEdits:
    """What to change in this header. received: our Received field, made by :func:`received_field`.

    Of a header that is over the limits only the beginning was read. Foreign copies of our fields are removed from all
    of it; its subject stays as it is, and local rules change nothing.
    """
    prepend = b"".join(fold_field(name, value) for name, value in _added(marking, hostname))
    if not header.complete:
        whole = _FOREIGN.sub(b"", buffer[header.start : header.end])
        return HeaderEdits(prepend + received, (Replacement(header.start, header.end, whole),))
    ours = {field.start for field in header.fields if field.key in OURS}
    # A rule that takes Received fields away leaves ours: they are how a loop through here is known.
    kept = ours | {field.start for field in header.all("received") if _is_own_mark(field, hostname)}
    edits = {edit.start: edit for edit in marking.edits if edit.end > edit.start and edit.start not in kept}
    replacements = [edit for edit in marking.edits if edit.start == edit.end]
    replacements += [Replacement(field.start, field.end) for field in header.fields if field.start in ours]
    if marking.subject_tag:
        subjects = [field for field in header.all("subject") if not _removed(edits.get(field.start))]
        for field in subjects:
            if field.start in edits:
                edits[field.start] = _tagged_edit(edits[field.start], marking.subject_tag)
            else:
                replacements.append(_tagged(buffer, field, marking.subject_tag))
        if not subjects:
            prepend += fold_field("Subject", marking.subject_tag.strip())
    return HeaderEdits(prepend + received, (*replacements, *edits.values()))


def _removed(edit: Replacement | None) -> bool:
    return edit is not None and not edit.text.lower().startswith(b"subject:")


def _tagged_edit(edit: Replacement, tag: str) -> Replacement:
    """A subject that a local rule has written anew, with the tag in front of it."""
    name, _, value = edit.text.partition(b":")
    bare = tag.strip()
    encoded = bare if bare.isascii() else email.header.Header(bare + " ", "utf-8", maxlinelen=_LONG_LINE).encode()
    return replace(edit, text=b"%b: %b %b" % (name, encoded.encode("ascii"), value.lstrip(b" ")))


def _added(marking: Marking, hostname: str) -> Iterator[tuple[str, str]]:
    if marking.quarantine_id:
        yield "X-Quarantine-ID", marking.quarantine_id
    if marking.virus_scanned:
        yield "X-Virus-Scanned", f"contentfilter at {hostname}"
    if marking.alert:
        yield "X-Contentfilter-Alert", marking.alert[:_LONGEST_ALERT]
    if marking.spam:
        yield from _spam_fields(marking.spam)


def _spam_fields(mark: SpamMark) -> Iterator[tuple[str, str]]:
    score = format_level(mark.score)
    yield "X-Spam-Flag", "YES" if mark.flagged else "NO"
    yield "X-Spam-Score", score
    stars = int(min(_MOST_STARS, mark.score)) if mark.score >= 1 else 0
    if stars:
        yield "X-Spam-Level", "*" * stars
    levels = f"tagged_above={format_level(mark.tagged_above)} required={format_level(mark.required)}"
    tests = ", ".join(map(str, mark.tests))
    answer = "Yes" if mark.flagged else "No"
    yield "X-Spam-Status", f"{answer}, score={score} {levels} tests=[{tests}] autolearn={mark.autolearn}"


def _tagged(buffer: Buffer, field: Field, tag: str) -> Replacement:
    """Put the tag between the colon and the value, whose bytes stay as they are.

    A tag that is itself encoded takes a blank along when an encoded word follows: blanks between two encoded words do
    not show (RFC 2047 section 6.2).
    """
    after_colon = buffer.find(b":", field.start) + 1
    bare = tag.strip()
    if field.text.startswith(bare):
        return Replacement(after_colon, after_colon)
    if not bare.isascii():
        blank = " " if field.value.startswith(b"=?") else ""
        bare = email.header.Header(bare + blank, "utf-8", maxlinelen=_LONG_LINE).encode()
    separator = b"" if field.raw[:1] in (b" ", b"\t", b"\r", b"\n") else b" "
    if field.raw.find(b"\n") < 0 and len(field.raw) > _LONG_LINE:
        separator = b"\r\n" + separator
    return Replacement(after_colon, after_colon, b" " + bare.encode("ascii") + separator)


def received_field(envelope: Envelope, recipients: Sequence[Recipient], mail_id: str, hostname: str) -> bytes:
    """Our trace field (RFC 5321 section 4.4). It names the recipient only where there is a single one."""
    helo = _UNSAFE_IN_NAME.sub("?", envelope.peer.helo[:255]) or "localhost"
    addr = f" ([{envelope.peer.addr}])" if envelope.peer.addr else ""
    protocol = f"UTF8{envelope.protocol.value.removeprefix('E')}" if envelope.smtputf8 else envelope.protocol.value
    lines = [
        f"Received: from {helo}{addr}",
        f"by {hostname} (contentfilter) with {protocol} id {mail_id}",
    ]
    address = recipients[0].address
    if len(recipients) == 1 and (address.isascii() or envelope.smtputf8):
        lines.append(f"for <{UNSAFE_IN_VALUE.sub('?', address)}>")
    return ("\r\n\t".join(lines) + f"; {_date(int(envelope.received_at))}\r\n").encode()


@functools.lru_cache(maxsize=16)
def _date(second: int) -> str:
    """A second since the epoch as RFC 5322 section 3.3 writes it. Kept, because many messages come in one."""
    return email.utils.formatdate(second, localtime=True)


def hops(header: Header) -> int:
    """How many hosts the message has passed (RFC 5321 section 6.3)."""
    return len(header.all("received"))


def own_marks(header: Header, hostname: str) -> int:
    """How often the message has passed through this very filter."""
    return sum(_is_own_mark(field, hostname) for field in header.all("received"))


def _is_own_mark(field: Field, hostname: str) -> bool:
    return f"by {hostname} (contentfilter) ".encode() in field.value.replace(b"\t", b" ")
