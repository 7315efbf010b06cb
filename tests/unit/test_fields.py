"""What we write into a header, byte for byte."""

from __future__ import annotations

import email
import email.policy
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contentfilter.envelope import Envelope, Peer, Protocol, Recipient
from contentfilter.fields import edits_for, hops, own_marks, received_field
from contentfilter.finding import Test
from contentfilter.message import Message, Replacement
from contentfilter.mime import parse_header
from contentfilter.verdict import Marking, SpamMark

HOST = "mx.example.org"
RECEIVED = b"Received: x\r\n"
MARK = SpamMark(7.2, 2.0, 6.2, flagged=True, tests=(Test("A", 1.0), Test("B", 6.2)), autolearn="no")


def edited(raw: bytes, marking: Marking) -> bytes:
    with Message(raw) as message:
        edits = edits_for(message.buffer, parse_header(message.buffer), marking, RECEIVED, HOST)
        return b"".join(bytes(piece) for piece in message.edited(edits))


def test_the_fields_of_the_contract() -> None:
    marking = Marking(virus_scanned=True, spam=MARK, alert="BANNED, message contains .exe: a.exe", quarantine_id="abc")
    got = edited(b"Subject: hi\r\n\r\nbody\r\n", marking)
    assert got == (
        b"X-Quarantine-ID: abc\r\n"
        b"X-Virus-Scanned: contentfilter at mx.example.org\r\n"
        b"X-Contentfilter-Alert: BANNED, message contains .exe: a.exe\r\n"
        b"X-Spam-Flag: YES\r\n"
        b"X-Spam-Score: 7.2\r\n"
        b"X-Spam-Level: *******\r\n"
        b"X-Spam-Status: Yes, score=7.2 tagged_above=2 required=6.2 tests=[A=1, B=6.2]\r\n"
        b"\tautolearn=no\r\n"
        b"Received: x\r\n"
        b"Subject: hi\r\n\r\nbody\r\n"
    )


def test_nothing_is_claimed_without_a_marking() -> None:
    assert edited(b"Subject: hi\r\n\r\nbody\r\n", Marking()) == b"Received: x\r\nSubject: hi\r\n\r\nbody\r\n"


@pytest.mark.parametrize(
    "foreign",
    [
        b"X-Virus-Scanned: clean, honestly\r\n",
        b"x-spam-flag: NO\r\n",
        b"X-Spam-Status : No,\r\n\tscore=-99\r\n \tautolearn=ham\r\n",
        b"X-SPAM-LEVEL:\r\n",
        b"X-Spam-Score:\t-5\r\n",
        b"X-Quarantine-ID: <guess>\r\n",
        b"X-Contentfilter-Alert: none\r\n",
    ],
)
def test_foreign_copies_are_removed(foreign: bytes) -> None:
    raw = foreign + b"From: a@b\r\n" + foreign + foreign + b"Subject: s\r\n" + foreign + b"\r\n" + foreign
    assert edited(raw, Marking()) == RECEIVED + b"From: a@b\r\nSubject: s\r\n\r\n" + foreign


def test_a_header_over_the_limits_is_cleaned_to_its_end() -> None:
    foreign = b"X-Spam-Flag: NO\r\nx-virus-scanned : yes\r\n\tfolded\r\n"
    raw = b"A: b\r\n" * 20 + foreign + b"Subject: s\r\n" + foreign + b"\r\n" + foreign
    header = parse_header(raw, max_fields=5)
    assert not header.complete
    with Message(raw) as message:
        edits = edits_for(message.buffer, header, Marking(subject_tag="T "), RECEIVED, HOST)
        got = b"".join(bytes(piece) for piece in message.edited(edits))
    assert got == RECEIVED + b"A: b\r\n" * 20 + b"Subject: s\r\n\r\n" + foreign
    assert edits.growth == len(got) - len(raw)


@pytest.mark.parametrize("name", [b"X-Spam-Report", b"X-Virus-Scanned-By", b"X-Spam", b"Received"])
def test_other_fields_stay(name: bytes) -> None:
    raw = name + b": kept\r\n\r\n"
    assert edited(raw, Marking()) == RECEIVED + raw


@pytest.mark.parametrize(
    ("subject", "tagged"),
    [
        (b"Subject: hi\r\n", b"Subject: ***SPAM*** hi\r\n"),
        (b"Subject:hi\r\n", b"Subject: ***SPAM*** hi\r\n"),
        (b"SUBJECT : hi\r\n", b"SUBJECT : ***SPAM*** hi\r\n"),
        (b"Subject:\r\n", b"Subject: ***SPAM*** \r\n"),
        (b"Subject: =?utf-8?B?w6Q=?=\r\n", b"Subject: ***SPAM*** =?utf-8?B?w6Q=?=\r\n"),
        (b"Subject:\r\n =?utf-8?B?w6Q=?=\r\n", b"Subject: ***SPAM***\r\n =?utf-8?B?w6Q=?=\r\n"),
        (b"Subject: \xe4\xf6\r\n", b"Subject: ***SPAM*** \xe4\xf6\r\n"),
        (b"Subject: ***SPAM*** hi\r\n", b"Subject: ***SPAM*** hi\r\n"),
        (b"Subject: a\r\nSubject: b\r\n", b"Subject: ***SPAM*** a\r\nSubject: ***SPAM*** b\r\n"),
        (b"Subject: " + b"x" * 980 + b"\r\n", b"Subject: ***SPAM***\r\n " + b"x" * 980 + b"\r\n"),
    ],
)
def test_subject_tag(subject: bytes, tagged: bytes) -> None:
    tail = b"To: b@c\r\n\r\nbody"
    got = edited(subject + tail, Marking(subject_tag="***SPAM*** "))
    # An empty subject needs no blank after the tag.
    assert got.replace(b"*** \r\n", b"***\r\n") == (RECEIVED + tagged + tail).replace(b"*** \r\n", b"***\r\n")


def test_a_missing_subject_is_added() -> None:
    got = edited(b"To: b@c\r\n\r\nbody", Marking(subject_tag="***SPAM*** "))
    assert got == b"Subject: ***SPAM***\r\n" + RECEIVED + b"To: b@c\r\n\r\nbody"


@pytest.mark.parametrize("subject", ["plain", "=?utf-8?Q?=C3=A4?=", "\r\n =?utf-8?Q?=C3=A4?="])
def test_a_tag_that_is_not_ascii_reads_right(subject: str) -> None:
    got = edited(f"Subject: {subject}\r\n\r\n".encode(), Marking(subject_tag="[Unerwünscht] "))
    parsed = email.message_from_bytes(got, policy=email.policy.default)
    assert parsed["Subject"].replace("ä", "plain") == "[Unerwünscht] plain"


def test_a_long_list_of_tests_is_folded() -> None:
    mark = SpamMark(50, 2, 6.2, flagged=True, tests=tuple(Test(f"RULE_NUMBER_{i}", 0.5) for i in range(100)))
    got = edited(b"\r\n", Marking(spam=mark))
    assert max(map(len, got.split(b"\r\n"))) <= 78
    status = email.message_from_bytes(got)["X-Spam-Status"]
    status = " ".join(status.split())
    assert status.startswith("Yes, score=50 tagged_above=2 required=6.2 tests=[RULE_NUMBER_0=0.5, RULE_NUMBER_1=0.5,")
    assert status.endswith("RULE_NUMBER_99=0.5] autolearn=no")


@pytest.mark.parametrize(
    ("score", "level"),
    [(0.9, None), (-5.0, None), (1.0, "*"), (7.9, "*" * 7), (999.0, "*" * 64), (1e9, "*" * 64), (math.inf, "*" * 64)],
)
def test_spam_level(score: float, level: str | None) -> None:
    got = edited(b"\r\n", Marking(spam=SpamMark(score, -999, 6.2, flagged=False)))
    assert email.message_from_bytes(got)["X-Spam-Level"] == level


@given(alert=st.text(max_size=3000), tag=st.text(max_size=100), raw=st.binary(max_size=300))
@example(alert="BANNED, a\r\nBcc: x@y", tag="a\r\nX-Evil: 1", raw=b"")
def test_nothing_that_is_found_in_a_message_can_make_a_field(alert: str, tag: str, raw: bytes) -> None:
    tag = tag.encode("utf-8", "ignore").decode().replace("\r", "").replace("\n", "").replace("\x00", "")
    got = edited(b"\r\n" + raw, Marking(alert=alert, subject_tag=tag))
    header, _, body = got.partition(b"\r\n\r\n")
    names = {line.partition(b":")[0] for line in header.split(b"\r\n") if line[:1] not in (b"\t", b" ")}
    assert names <= {b"X-Contentfilter-Alert", b"Subject", b"Received"}
    assert body == raw
    assert max(map(len, header.split(b"\r\n"))) <= 998


RAW_LINES = st.lists(
    st.sampled_from([b"X-Spam-Flag: NO", b"Subject: s", b" folded", b"garbage", b"A:b", b"", b"\x00:\xff", b"a\rb: c"]),
    max_size=12,
)


@given(RAW_LINES)
def test_the_body_passes_byte_for_byte(lines: list[bytes]) -> None:
    raw = b"\r\n".join(lines) + b"\r\n"
    header = parse_header(raw)
    got = edited(raw, Marking(spam=MARK, subject_tag="T "))
    assert got.endswith(raw[header.end :])


@pytest.mark.parametrize(
    ("protocol", "smtputf8", "word"),
    [
        (Protocol.LMTP, False, "LMTP"),
        (Protocol.ESMTP, False, "ESMTP"),
        (Protocol.SMTP, False, "SMTP"),
        (Protocol.LMTP, True, "UTF8LMTP"),
        (Protocol.ESMTP, True, "UTF8SMTP"),
    ],
)
def test_received_field(protocol: Protocol, smtputf8: bool, word: str) -> None:
    bob = Recipient("bob@example.org")
    peer = Peer("127.0.0.1", "mx.example.org")
    envelope = Envelope("", (bob,), protocol=protocol, smtputf8=smtputf8, peer=peer, received_at=0.0)
    lines = received_field(envelope, [bob], "abc", HOST).decode().split("\r\n")
    assert lines[0] == "Received: from mx.example.org ([127.0.0.1])"
    assert lines[1] == f"\tby mx.example.org (contentfilter) with {word} id abc"
    assert lines[2].startswith("\tfor <bob@example.org>; Thu, 01 Jan 1970 ")
    assert lines[3:] == [""]


def test_received_field_does_not_tell_recipients_of_each_other() -> None:
    recipients = (Recipient("bob@example.org"), Recipient("alice@example.org"))
    assert b"example.org>" not in received_field(Envelope("", recipients), recipients, "abc", HOST)


def test_received_field_is_one_field_whatever_the_peer_says() -> None:
    envelope = Envelope("", (Recipient("b"),), peer=Peer("127.0.0.1", "x\r\nEvil: (y)\x00" + "z" * 5000))
    header = parse_header(received_field(envelope, envelope.recipients, "abc", HOST))
    assert [field.key for field in header.fields] == ["received"]
    assert not header.defects


def test_own_marks_and_hops() -> None:
    envelope = Envelope("", (Recipient("b"),))
    mine = received_field(envelope, envelope.recipients, "abc", HOST)
    other = received_field(envelope, envelope.recipients, "abc", "other.example.org")
    header = parse_header(mine + other + b"Received: from a by b\r\n" + mine + b"\r\n" + mine)
    assert (own_marks(header, HOST), hops(header)) == (2, 4)


OWN_MARK = b"Received: from a\r\n\tby mx.example.org (contentfilter) with LMTP id x; y\r\n"


@pytest.mark.parametrize(
    ("removed", "stays"),
    [
        (b"Received: from a by b.example; y\r\n", False),
        (OWN_MARK, True),
        # What is ours is removed for everybody, whatever a rule makes of it.
        (b"X-Spam-Flag: NO\r\n", False),
    ],
)
@pytest.mark.parametrize("text", [b"", b"X-Other: 1\r\n"])
def test_a_rule_changes_neither_our_mark_nor_our_fields(removed: bytes, stays: bool, text: bytes) -> None:
    raw = b"From: a@b\r\n" + removed + b"Subject: s\r\n\r\nbody\r\n"
    start = raw.index(removed)
    edit = Replacement(start, start + len(removed), text)
    ours = removed.startswith(b"X-Spam")
    left = removed if stays else b"" if ours else text
    assert edited(raw, Marking(edits=(edit,))) == RECEIVED + b"From: a@b\r\n" + left + b"Subject: s\r\n\r\nbody\r\n"


@pytest.mark.parametrize(
    ("text", "tagged"),
    [
        (b"Subject: bye\r\n", b"Subject: [S] bye\r\n"),
        (b"subject:  =?utf-8?q?bye?=\r\n", b"subject: [S] =?utf-8?q?bye?=\r\n"),
    ],
)
def test_a_subject_that_a_rule_wrote_is_tagged(text: bytes, tagged: bytes) -> None:
    raw = b"From: a@b\r\nSubject: hi\r\n\r\nbody\r\n"
    edit = Replacement(11, 24, text)
    got = edited(raw, Marking(edits=(edit,), subject_tag="[S] "))
    assert got == RECEIVED + b"From: a@b\r\n" + tagged + b"\r\nbody\r\n"


def test_a_subject_that_a_rule_took_away_comes_back_as_the_tag() -> None:
    raw = b"From: a@b\r\nSubject: hi\r\n\r\nbody\r\n"
    got = edited(raw, Marking(edits=(Replacement(11, 24),), subject_tag="[S] "))
    assert got == b"Subject: [S]\r\n" + RECEIVED + b"From: a@b\r\n\r\nbody\r\n"
