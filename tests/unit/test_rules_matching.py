"""What the tables see of a message, what several hits make of it, and what becomes of its header."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.finding import RuleAction, RuleHit
from contentfilter.message import HeaderEdits, Message, Replacement
from contentfilter.mime import Limits, Part, parse
from contentfilter.rules import RuleHits, RuleSet, TableKind, header_edits, match, view
from contentfilter.rules import parse as parse_table
from contentfilter.rules.matching import DEFAULT_BUDGET
from contentfilter.rules.view import LONGEST_LINE, excerpts
from contentfilter.text import PartText, part_text

ALL = frozenset(TableKind)


def rule_set(**tables: str) -> RuleSet:
    return RuleSet(tuple(parse_table(text, name, TableKind(name)) for name, text in tables.items()))


def hits(raw: bytes, budget: int = DEFAULT_BUDGET, **tables: str) -> RuleHits:
    return match(rule_set(**tables), parse(raw), budget)


def brief(found: RuleHits) -> list[str]:
    return [str(hit.rule) for hit in found.hits]


def seen(raw: bytes, kind: TableKind) -> list[str]:
    """All lines that a table of this kind sees."""
    return [
        line
        for one in excerpts(parse(raw), ALL, DEFAULT_BUDGET)
        if one.kind is kind
        for line in one.text.split("\n")
        if line
    ]


def edits(found: RuleHits) -> tuple[Replacement, ...]:
    """What becomes of the header."""
    return header_edits(hit.rule for hit in found.hits)


def edited(raw: bytes, **tables: str) -> bytes:
    replacements = edits(hits(raw, **tables))
    with Message(raw) as message:
        return b"".join(bytes(piece) for piece in message.edited(HeaderEdits(replacements=replacements)))


ATTACHED = (
    b"From: a@example.net\r\nSubject: =?koi8-r?B?8NLJ18XU?=\r\n =?koi8-r?B?IQ==?=\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: inner\r\nContent-Type: text/plain\r\n\r\ninner text\r\n"
    b"--b\r\nContent-Type: application/x-a; name*=koi8-r''%D0%D2%C9.exe\r\nX-Part: yes\r\n\r\nx\r\n--b--\r\n"
)


def test_each_table_sees_its_lines() -> None:
    assert seen(ATTACHED, TableKind.HEADER_CHECKS) == [
        "From: a@example.net",
        "Subject: Привет!",
        "MIME-Version: 1.0",
        "Content-Type: multipart/mixed; boundary=b",
    ]
    assert seen(ATTACHED, TableKind.MIME_HEADER_CHECKS) == [
        "MIME-Version: 1.0",
        "Content-Type: multipart/mixed; boundary=b",
        "Content-Type: message/rfc822",
        "Content-Type: text/plain",
        "Content-Type: application/x-a; name*=koi8-r''%D0%D2%C9.exe",
        "X-Part: yes",
        'Content-Disposition: attachment; filename="при.exe"',
        'Content-Type: application/x-a; name="при.exe"',
    ]
    assert seen(ATTACHED, TableKind.NESTED_HEADER_CHECKS) == ["Subject: inner", "Content-Type: text/plain"]
    assert seen(ATTACHED, TableKind.BODY_CHECKS) == ["inner text"]


def test_every_reading_is_seen_and_nothing_twice() -> None:
    raw = (
        b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=b\r\nSubject: once\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVu\r\n--b--\r\n"
    )
    assert "hidden" in seen(raw, TableKind.BODY_CHECKS)
    assert "--b" in seen(raw, TableKind.BODY_CHECKS)
    assert seen(raw, TableKind.HEADER_CHECKS).count("Subject: once") == 1
    assert seen(raw, TableKind.MIME_HEADER_CHECKS).count("Content-Type: text/plain") == 2


def _html(body: str) -> bytes:
    return b"Content-Type: text/html; charset=utf-8\r\n\r\n" + body.encode()


def test_html_is_seen_as_read_as_hidden_and_as_source() -> None:
    lines = seen(
        _html("<p>Buy <b>now</b></p>\n<p style='display:none'>secret</p>\n<script>evil()</script>"),
        TableKind.BODY_CHECKS,
    )
    assert lines[0] == "Buy now"
    assert "secret" in lines
    assert "<script>evil()</script>" in lines
    assert "<p>Buy <b>now</b></p>" in lines
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        ("utf-8", "8bit"),
        ("utf-16", "base64"),
        ("utf-16-le", "base64"),
        ("koi8-r", "quoted-printable"),
        ("utf-8", "base64"),
    ],
)
def test_text_is_decoded(charset: str, encoding: str) -> None:
    data = "начало\r\nЖивы щипцы\r\n".encode(charset)
    encode = {"8bit": bytes, "base64": base64.encodebytes, "quoted-printable": quopri.encodestring}[encoding]
    raw = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    raw += encode(data)
    assert brief(hits(raw, body_checks="/^живы ЩИПЦЫ$/ REJECT spam")) == ["body_checks:1: REJECT 5.7.1 spam"]


def test_delivery_reports_are_text() -> None:
    raw = (
        b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        b"Reporting-MTA: dns; forged.example\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        b"Received: from my.example.org (unknown [192.0.2.1])\r\n--b--\r\n"
    )
    assert seen(raw, TableKind.BODY_CHECKS) == [
        "Reporting-MTA: dns; forged.example",
        "Received: from my.example.org (unknown [192.0.2.1])",
    ]


def test_a_decoded_field_is_one_line_whatever_it_holds() -> None:
    raw = b"Subject: =?utf-8?q?a=0D=0AX-Evil=3A_b=0A=0Ac?=\r\nX-Next: d\r\n\r\n"
    assert seen(raw, TableKind.HEADER_CHECKS) == ["Subject: a X-Evil: b c", "X-Next: d"]
    (hit,) = hits(raw, header_checks="/^X-Next/ IGNORE").hits
    assert raw[hit.rule.start : hit.rule.end] == b"X-Next: d\r\n"


PLAIN = b"Subject: one\r\nX-A: 1\r\nX-B: 2\r\n\r\nfirst\r\nsecond\r\nthird\r\n"


@pytest.mark.parametrize(
    ("tables", "wanted"),
    [
        # The first rule of a table decides for its line; every line is looked at.
        ({"header_checks": "/X-A/ WARN a\n/X-/ WARN b"}, ["header_checks:1: WARN a", "header_checks:2: WARN b"]),
        ({"header_checks": "/X-A/ DUNNO\n/X-/ WARN b"}, ["header_checks:2: WARN b"]),
        # The first REJECT or DISCARD ends it, header before body, in the order of the message.
        ({"body_checks": "/^second/ REJECT n\n/^/ WARN w"}, ["body_checks:2: WARN w", "body_checks:1: REJECT 5.7.1 n"]),
        ({"body_checks": "/third/ REJECT\n/second/ DISCARD d"}, ["body_checks:2: DISCARD d"]),
        ({"body_checks": "/first/ DISCARD", "header_checks": "/X-B/ REJECT"}, ["header_checks:1: REJECT 5.7.1"]),
        # HOLD goes on.
        ({"body_checks": "/first/ HOLD h\n/third/ REJECT"}, ["body_checks:1: HOLD h", "body_checks:2: REJECT 5.7.1"]),
        ({"body_checks": "/first|third/ HOLD h"}, ["body_checks:1: HOLD h"]),
        # A test counts once, an address too; the last REDIRECT stands last.
        ({"body_checks": "/first|third/ SCORE 2 T\n/second/ SCORE 3 T"}, ["body_checks:1: SCORE T"]),
        ({"body_checks": "/./ BCC a@example.org"}, ["body_checks:1: BCC a@example.org"]),
        (
            {"body_checks": "/first|third/ REDIRECT a@example.org\n/second/ REDIRECT b@example.org"},
            ["body_checks:2: REDIRECT b@example.org", "body_checks:1: REDIRECT a@example.org"],
        ),
    ],
)  # fmt: skip
def test_what_several_hits_make(tables: dict[str, str], wanted: list[str]) -> None:
    assert brief(hits(PLAIN, **tables)) == wanted


def test_the_hit_that_decides() -> None:
    found = hits(PLAIN, body_checks="/first/ HOLD h\n/second/ WARN w\n/third/ DISCARD d")
    assert found.deciding is not None
    assert found.deciding.rule.action is RuleAction.DISCARD
    found = hits(PLAIN, body_checks="/first/ WARN h\n/second/ HOLD 1\n/third/ HOLD 2")
    assert found.deciding is not None
    assert found.deciding.rule.text == "1"
    assert hits(PLAIN, body_checks="/first/ WARN h").deciding is None


def test_a_hit_says_what_where_and_why() -> None:
    raw = b"Subject: x\x07" + b"y" * 300 + b"needle\r\n\r\n"
    (hit,) = hits(raw, header_checks="\n/(x.)y+(needle)/ REJECT 4.7.1 no $2$1").hits
    assert (hit.part, hit.field, hit.rule.source, hit.rule.status) == ("", "Subject", "header_checks:2", "4.7.1")
    assert hit.rule.text == "no needlex\\x07"
    assert hit.rule.matched.startswith("Subject: x\\x07yyy")
    assert len(hit.rule.matched) <= 203


def test_remarks_are_bounded_and_what_decides_is_not_lost() -> None:
    raw = b"\r\n" + b"spam\r\n" * 1000 + b"end\r\n"
    found = hits(raw, body_checks="/spam/ WARN w\n/end/ REJECT r")
    assert brief(found) == ["body_checks:1: WARN w"] * 5 + ["body_checks:2: REJECT 5.7.1 r"]


@pytest.mark.parametrize(
    ("checks", "wanted"),
    [
        ("/^X-A/ IGNORE", b"Subject: one\r\nX-B: 2\r\n"),
        ("/^X-/ IGNORE", b"Subject: one\r\n"),
        ("/./ IGNORE", b""),
        ("/^X-A: (.)/ REPLACE X-C: <$1>", b"Subject: one\r\nX-C: <1>\r\nX-B: 2\r\n"),
        ("/^X-A/ PREPEND X-C: before", b"Subject: one\r\nX-C: before\r\nX-A: 1\r\nX-B: 2\r\n"),
        ("/^Sub/ PREPEND X-C: 0\n/^X-A/ IGNORE\n/^X-B/ REPLACE X-D: 9", b"X-C: 0\r\nSubject: one\r\nX-D: 9\r\n"),
        ("/^Sub/ REPLACE Subject: grüß dich", b"Subject: =?utf-8?b?Z3LDvMOfIGRpY2g=?=\r\nX-A: 1\r\nX-B: 2\r\n"),
    ],
)
def test_edits(checks: str, wanted: bytes) -> None:
    assert edited(PLAIN, header_checks=checks) == wanted + PLAIN[PLAIN.index(b"\r\n\r\n") + 2 :]


def test_folded_fields_go_and_come_whole() -> None:
    raw = b"A: 1\r\nX-Long: one\r\n two\r\n\tthree\r\nB: 2\r\n\r\nbody\r\n"
    assert edited(raw, header_checks="/^X-Long: one two\tthree$/ IGNORE") == b"A: 1\r\nB: 2\r\n\r\nbody\r\n"
    long = " ".join(["words"] * 40)
    result = edited(raw, header_checks=f"/^B/ REPLACE B: {long}")
    header, _, body = result.partition(b"\r\n\r\n")
    assert body == b"body\r\n"
    assert max(map(len, header.split(b"\r\n"))) <= 78
    assert parse(result).header.fields[2].text.split() == long.split()


def test_a_stranger_cannot_add_a_field_of_his_own() -> None:
    raw = b"Subject: =?utf-8?q?a=0D=0ABcc=3A_x?=\r\nX-A: \xff\xfe=?utf-8?q?=00=E2=80=A8?= b\r\n\r\nbody\r\n"
    result = edited(raw, header_checks="/^Subject: (.*)/ REPLACE X-Subject: $1\n/^X-A: (.*)/ PREPEND X-B: $1")
    names = [field.name for field in parse(result).header.fields]
    assert names == ["X-Subject", "X-B", "X-A"]


def test_a_header_that_was_not_read_to_its_end_is_not_edited_and_that_is_said() -> None:
    raw = b"".join(b"X-%d: a\r\n" % number for number in range(50)) + b"\r\nbody\r\n"
    found = match(rule_set(header_checks="/a/ IGNORE\n/./ WARN"), parse(raw, Limits(fields=10)))
    assert edits(found) == ()
    assert found.unmatched == (("1", "only the first 69 characters were matched by header_checks"),)


def test_fields_that_only_another_reading_has_are_matched_but_not_edited() -> None:
    """Some programs end a line at a bare CR; the field that they see has no line of its own in the message."""
    raw = b"Subject: a\r\nX-Note: a\rContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"
    assert brief(hits(raw, header_checks="/^Content-Type: multi/ WARN")) == ["header_checks:1: WARN"]
    assert brief(hits(raw, header_checks="/^Subject/ WARN")) == ["header_checks:1: WARN"]
    assert edited(raw, header_checks="/^Content-Type: multi/ IGNORE") == raw


def test_what_is_beyond_the_budget_is_reported() -> None:
    raw = b"Subject: s\r\n\r\n" + b"x" * 100 + b"\r\nneedle\r\n"
    assert hits(raw, 200, body_checks="/needle/ WARN").unmatched == ()
    found = hits(raw, 60, header_checks="/s/ WARN", body_checks="/needle/ WARN")
    assert brief(found) == ["header_checks:1: WARN"]
    assert found.unmatched == (("1", "only the first 60 characters were matched by body_checks"),)


def test_behind_the_budget_headers_are_matched_and_no_text_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = b"".join(b"--b\r\n\r\ntext %02d\r\n" % number for number in range(15))
    parts += b"--b\r\nContent-Type: a/b; name=a.exe\r\n\r\n"
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"
    decoded: list[str] = []

    def watched(part: Part, limit: int) -> PartText:
        decoded.append(part.path)
        return part_text(part, limit)

    monkeypatch.setattr(view, "part_text", watched)
    found = hits(raw, 10, body_checks="/text/ WARN", mime_header_checks=r"/\.exe/ REJECT")
    assert [str(hit.rule) for hit in found.hits if hit.rule.action.ends] == ["mime_header_checks:1: REJECT 5.7.1"]
    assert decoded == ["1.1", "1.2"]
    assert found.unmatched[0] == ("1.2", "only the first 3 characters were matched by body_checks")
    assert found.unmatched[-1] == ("", "nor were all characters of 4 further parts")


def test_text_of_a_part_beyond_the_limit_is_reported() -> None:
    raw = b"\r\n" + b"line of text\r\n" * 30_000
    (one,) = hits(raw, body_checks="/needle/ WARN").unmatched
    assert one[0] == "1"
    assert one[1].startswith("only the first 2")


def test_a_line_that_is_too_long_goes_on_as_another() -> None:
    raw = b"\r\n" + b"x" * LONGEST_LINE + b"needle" + b"\r\n"
    assert [hit.rule.matched for hit in hits(raw, body_checks="/^needle$/ WARN").hits] == ["needle"]
    assert max(map(len, seen(raw, TableKind.BODY_CHECKS))) == LONGEST_LINE


def test_no_tables_and_no_message() -> None:
    assert not RuleSet()
    assert not rule_set(header_checks="# nothing")
    assert rule_set(header_checks="/a/ WARN")
    assert match(RuleSet(), parse(PLAIN)) == RuleHits()
    assert hits(b"", header_checks="!/x/ REJECT", body_checks="!/x/ REJECT").hits == ()


@given(st.binary(max_size=300), st.integers(0, 400))
def test_never_raises_and_edits_stay_in_the_header(raw: bytes, budget: int) -> None:
    raw = b"Content-Type: text/html\r\nSubject: a\r\n" + raw
    tree = parse(raw)
    found = match(
        rule_set(header_checks="/^(S.*)/ REPLACE X-S: $1\n/e/ IGNORE\n/(.*)/ PREPEND X-P: $1", body_checks="!/a/ WARN",
                 mime_header_checks="/./ SCORE 1 A", nested_header_checks="/(.)/ INFO $1"),
        tree, budget,
    )  # fmt: skip
    last = 0
    for edit in edits(found):
        assert last <= edit.start <= edit.end <= tree.header.end
        last = edit.end
        assert edit.text == b"" or parse(edit.text + b"\r\n").header.fields[0].name in ("X-S", "X-P")


def test_edits_of_hits_that_are_kept_elsewhere() -> None:
    kept = [
        RuleHit(RuleAction.IGNORE, "header_checks:1", start=20, end=30),
        RuleHit(RuleAction.WARN, "header_checks:2"),
    ]
    (edit,) = header_edits(kept)
    assert (edit.start, edit.end, edit.text) == (20, 30, b"")


def test_no_line_of_a_header_is_longer_than_a_line_may_be() -> None:
    """RFC 5322 section 2.1.1."""
    raw = b"Subject: " + b"A" * 3000 + b"\r\n\r\nx"
    (edit,) = edits(hits(raw, header_checks="/^Subject: (.*)/ REPLACE Subject: $1\n"))
    assert max(map(len, edit.text.split(b"\r\n"))) <= 998
