from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.envelope import Envelope
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Subject
from contentfilter.inspectors import banned as banned_module
from contentfilter.inspectors.banned import BannedInspector
from contentfilter.inspectors.banned_default import BannedSettings, default_set
from contentfilter.inspectors.file_name import extension, plain_names
from contentfilter.message import Message
from contentfilter.mime import parse
from contentfilter.unpack.unpacked import Member, Sign, Unpacked
from tests.unit.test_filetype import ELF, windows_program

DEFAULTS = BannedSettings()


def subject(raw: bytes) -> Subject:
    return Subject("id", Envelope("", ()), Message(raw), parse(raw))


async def findings(raw: bytes, settings: BannedSettings = DEFAULTS) -> tuple[Finding, ...]:
    return await BannedInspector([default_set(settings)]).inspect(subject(raw))


def attached(name: bytes, content: bytes = b"harmless", kind: bytes = b"application/octet-stream") -> bytes:
    return (
        b"Content-Type: " + kind + b'\r\nContent-Disposition: attachment; filename="' + name + b'"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(content).replace(b"\n", b"\r\n")
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.exe", ["a.exe"]),
        ("A.EXE", ["a.exe"]),
        ("a.exe.", ["a.exe"]),
        ("a.exe. . ", ["a.exe"]),
        ("  a.exe\u00a0", ["a.exe"]),
        ("C:\\dir\\a.exe", ["a.exe"]),
        ("../../a.exe", ["a.exe"]),
        ("a.exe/", ["a.exe"]),
        ("a.exe::$DATA", ["a.exe::$data", "a.exe"]),
        ("a.exe:stream.txt", ["a.exe:stream.txt", "a.exe"]),
        ("a.exe\0.txt", ["a.exe.txt", "a.exe"]),
        ("a\uff0eexe", ["a.exe"]),
        ("a.\uff45\uff58\uff45", ["a.exe"]),
        ("a.\u202eexe", ["a.exe"]),
        ("a.e\u200bxe\ufeff", ["a.exe"]),
        ("a.ex\ufe0fe", ["a.exe"]),
        ("a.\r\nexe", ["a.exe"]),
        ("a\u3002exe", ["a.exe"]),
        ("a\uff61exe", ["a.exe"]),
        ("a\u2024exe", ["a.exe"]),
        ("a.e\u3164xe\u2800", ["a.exe"]),
        ("a.exe/..", ["a.exe"]),
        ("a.exe\\ ", ["a.exe"]),
        ("a.exe\u3000.\u2003", ["a.exe"]),
        ("'a.exe'", ["a.exe"]),
        ('a.exe"', ["a.exe"]),
        ("a%2Eexe", ["a%2eexe", "a.exe"]),
        ("100%.txt", ["100%.txt"]),
        ("b" * 200 + ".exe.txt", ["b" * 200 + ".exe.txt", "b" * 200 + ".exe", "b" * 200]),
        ("grüße.txt", ["grüße.txt"]),
        ("...", []),
        ("", []),
    ],
)
def test_plain_names(name: str, wanted: list[str]) -> None:
    assert plain_names(name) == tuple(wanted)


@pytest.mark.parametrize(
    ("name", "wanted"), [("a.exe", "exe"), ("a.tar.gz", "gz"), ("a", ""), (".exe", "exe"), ("a. exe", "exe")]
)
def test_extension(name: str, wanted: str) -> None:
    assert extension(name) == wanted


@given(st.text())
def test_plain_names_of_anything(name: str) -> None:
    for plain in plain_names(name):
        assert plain
        assert not plain.endswith((".", " "))
        assert "/" not in plain
        assert "\\" not in plain


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (b"invoice.pdf.exe", ".exe: invoice.pdf.exe"),
        (b"A.SCR", ".scr: A.SCR"),
        (b"a.js. .", ".js: a.js. ."),
        (b"a.vbs::$DATA", ".vbs: a.vbs::$DATA"),
        (b"=?utf-8?q?a=E2=80=AEtxt=2Eexe?=", ".exe: a\\u202etxt.exe"),
        (b"x." + b"a" * 300 + b".exe", ".exe: x." + "a" * 45 + "..." + "a" * 46 + ".exe"),
        (b"a.txt", None),
        (b"a.exe.txt", None),
        (b"exe", None),
        (b"report.com.pdf", None),
    ],
)
async def test_names(name: bytes, rule: str | None) -> None:
    wanted = () if rule is None else (Finding(Kind.BANNED, "banned", rule, "1", banned_rules=("default",)),)
    assert await findings(attached(name)) == wanted


@pytest.mark.parametrize("behind", [".x" * 10, ".x" * 60, ".x" * 100, ".txt", " " * 200 + ".txt"])
@pytest.mark.parametrize("before", [124, 251])
def test_a_name_that_some_system_cuts_ends_in_what_is_left(before: int, behind: str) -> None:
    name = "a" * before + ".exe" + behind
    assert "a" * before + ".exe" in plain_names(name)


@pytest.mark.parametrize(
    "name", [b"a.{00020900-0000-0000-C000-000000000046}", b"a.txt.{3050f4d8-98b5-11cf-bb82-00aa00bdce0b}"]
)
async def test_class_identifier_in_place_of_an_extension(name: bytes) -> None:
    assert len(await findings(attached(name))) == 1


async def test_double_extension_is_banned_by_name_even_where_the_extension_is_not() -> None:
    settings = BannedSettings(extensions=(), types=())
    assert len(await findings(attached(b"invoice.pdf.exe"), settings)) == 1
    assert await findings(attached(b"setup.exe"), settings) == ()
    assert await findings(attached(b"setup-1.2.exe"), settings) == ()


@pytest.mark.parametrize("content", [windows_program(), b"MZ" + bytes(1000), ELF])
async def test_renamed_program_is_known_by_its_content(content: bytes) -> None:
    (finding,) = await findings(attached(b"invoice.txt", content, b"text/plain"))
    assert finding.name.startswith("application/")
    assert finding.name.endswith(": invoice.txt")


async def test_renamed_document_is_not_banned() -> None:
    assert await findings(attached(b"invoice.txt", b"%PDF-1.4\n" + bytes(500), b"text/plain")) == ()


async def test_declared_type_and_type_families() -> None:
    raw = b"Content-Type: application/X-MSDownload\r\n\r\nx"
    assert [each.name for each in await findings(raw)] == ["application/x-msdownload"]
    audio = b"Content-Type: audio/ogg; name=a.ogg\r\n\r\nx"
    assert [each.name for each in await findings(audio, BannedSettings(types=("audio/*",)))] == ["audio/ogg: a.ogg"]
    assert await findings(audio, BannedSettings(types=("audio",))) == ()


async def test_at_any_depth_and_in_every_reading() -> None:
    inner = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    inner += base64.encodebytes(attached(b"deep.exe"))
    two_readings = b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n"
    two_readings += attached(b"hidden.bat") + b"--c--\r\n"
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + inner + b"--b\r\n" + two_readings + b"--b--\r\n"
    assert [(each.part, each.name) for each in await findings(raw)] == [
        ("1.1.1", ".exe: deep.exe"),
        ("1.2~2.1", ".bat: hidden.bat"),
    ]


async def test_one_finding_a_part_and_every_name_counts() -> None:
    raw = b'Content-Type: application/x-msdownload; name="a.txt"\r\nContent-Disposition: x; filename="b.pif"\r\n\r\n'
    assert [each.name for each in await findings(raw)] == [".pif: b.pif"]


async def test_ordinary_message_has_no_finding() -> None:
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee www.example.com\r\n--b\r\n"
    assert await findings(raw + attached(b"report.final.pdf", b"%PDF-1.4\n") + b"--b--\r\n") == ()


async def test_many_leaves_are_judged_in_a_thread_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = b"".join(b"--b\r\n" + attached(b"%d.exe" % number) for number in range(5))
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"
    at_once = await findings(raw)
    monkeypatch.setattr(banned_module, "INLINE_LEAVES", 0)
    assert await findings(raw) == at_once
    assert len(at_once) == 5


@pytest.mark.parametrize("pattern", ["(a", "a**", r"(?=a)", r"\1"])
def test_invalid_pattern_is_refused_by_name(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="is not valid") as caught:
        default_set(BannedSettings(names=(pattern,)))
    assert repr(pattern) in str(caught.value)
    assert capfd.readouterr().err == ""


def _opened(*members: Member, signs: tuple[Sign, ...] = ()) -> Subject:
    return replace(_subject_with_text(), opened=Unpacked(members, signs))


def _subject_with_text() -> Subject:
    raw = b"Content-Type: text/plain\r\n\r\nhello\r\n"
    return Subject("id", Envelope("", ()), Message(raw), parse(raw))


@pytest.mark.parametrize(
    ("name", "detected", "why"),
    [("a.exe", "text/plain", ""), ("a.txt", "application/x-dosexec", ""), ("a.exe", "", "encrypted")],
)
async def test_members_of_containers_are_judged_like_parts(name: str, detected: str, why: str) -> None:
    member = Member("1/2", "1", (name,), "", detected, (), why, 0)
    findings = await BannedInspector([default_set(DEFAULTS)]).inspect(_opened(member))
    assert [(finding.kind, finding.part) for finding in findings] == [(Kind.BANNED, "1/2")]


async def test_an_innocent_member_is_not_banned() -> None:
    member = Member("1/1", "1", ("a.txt",), "", "text/plain", (), "", 0)
    assert await BannedInspector([default_set(DEFAULTS)]).inspect(_opened(member)) == ()


async def test_some_signs_are_banned_and_others_are_only_facts() -> None:
    subject = _opened(signs=(Sign("1", "macro"), Sign("1/3", "macro-autorun", "AutoOpen")))
    (finding,) = await BannedInspector([default_set(DEFAULTS)]).inspect(subject)
    assert (finding.kind, finding.name, finding.part) == (Kind.BANNED, "macro-autorun: AutoOpen", "1/3")
    assert await BannedInspector([default_set(BannedSettings(signs=()))]).inspect(subject) == ()
