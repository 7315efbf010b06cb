"""Sets of banned rules: what a rule means, and that an allow rule covers nothing that it was not written for."""

from __future__ import annotations

import gc
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import config
from contentfilter.config.banned import BannedRuleTable
from contentfilter.envelope import Envelope
from contentfilter.errors import ConfigError, InspectorError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Subject, banned_contents
from contentfilter.inspectors.banned import BannedInspector
from contentfilter.inspectors.banned_matching import PROGRAM_TYPES
from contentfilter.inspectors.banned_rules import CONTAINER_TYPES, PROGRAM_EXTENSIONS
from contentfilter.message import Message
from contentfilter.mime import Part, parse
from contentfilter.unpack.unpacked import Member, Sign, Unpacked
from tests.unit.test_banned import attached
from tests.unit.test_filetype import ELF, windows_program

MANUAL = Path(__file__).parents[2] / "docs" / "banned.md"

ZIP = b"PK\x03\x04\x14\0\0\0\0\0" + bytes(40)
RAR = b"Rar!\x1a\x07\x01\0" + bytes(40)
PROGRAM = ["application/x-dosexec", "application/vnd.microsoft.portable-executable"]
DENY_PROGRAMS = f'{{action = "deny", extensions = ["exe", "js"]}}, {{action = "deny", types = {PROGRAM}}}'


def inspector(*sets: str, **named: Sequence[str]) -> BannedInspector:
    """An inspector of sets in TOML: rules of a set called x, or of sets by name."""
    named = {**({"x": sets} if sets else {}), **named}
    text = "\n".join(f"[banned.set.{name}]\nrules = [{', '.join(rules)}]" for name, rules in named.items())
    return BannedInspector(config.parse(text, "test").banned.sets)


def subject(raw: bytes, *members: Member, **more: object) -> Subject:
    """A message, with what is said to have come out of its containers."""
    opened = Unpacked(members, **more)  # type: ignore[arg-type]
    return Subject("id", Envelope("", ()), Message(raw), parse(raw), opened=opened, banned_rules=(("x",),))


def multipart(*parts: bytes) -> bytes:
    """A message of these parts."""
    inner = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + inner + b"--b--\r\n"


def member(path: str, *names: str, detected: str = "text/plain", declared: str = "", why: str = "") -> Member:
    """What came out of a container."""
    return Member(path, path.rpartition("/")[0], names, declared, "" if why else detected, (), why, 3)


async def banned(rules: Sequence[str], what: Subject) -> list[str]:
    """The paths of what these rules ban."""
    findings = await inspector(*rules).inspect(what)
    assert {finding.kind for finding in findings} <= {Kind.BANNED}
    assert {finding.banned_rules for finding in findings} <= {("x",)}
    return [finding.part for finding in findings]


MESSAGE_IN_IT = b"Content-Type: message/rfc822; name=a.eml\r\n\r\n" + attached(b"a.exe")
IN_ZIP = subject(multipart(attached(b"a.zip", ZIP)), member("1.1/1", "a.exe", detected="application/x-dosexec"))

MEANINGS = [
    # Each criterion by itself.
    ('{action = "deny", extensions = [".EXE"]}', subject(attached(b"a.exe")), ["1"]),
    ('{action = "deny", extensions = ["exe"]}', subject(attached(b"a.txt")), []),
    ('{action = "deny", names = ["^invoice"]}', subject(attached(b"Invoice-3.pdf")), ["1"]),
    (f'{{action = "deny", types = {PROGRAM}}}', subject(attached(b"a", windows_program())), ["1"]),
    ('{action = "deny", declared_types = ["application/x-dosexec"]}', subject(attached(b"a", windows_program())), []),
    ('{action = "deny", detected_types = ["audio/x-y"]}', subject(attached(b"a", b"x", b"audio/x-y")), []),
    ('{action = "deny", detected_types = ["text/plain"]}', subject(attached(b"a", b"some text\r\n" * 9)), ["1"]),
    ('{action = "deny", min_depth = 1}', IN_ZIP, ["1.1/1"]),
    ('{action = "deny", max_depth = 0, extensions = ["zip", "exe"]}', IN_ZIP, ["1.1"]),
    ('{action = "deny", min_depth = 1}', subject(multipart(MESSAGE_IN_IT)), ["1.1.1"]),
    ('{action = "deny", inside = ["zip"]}', IN_ZIP, ["1.1/1"]),
    ('{action = "deny", inside = ["application/zip"]}', IN_ZIP, ["1.1/1"]),
    ('{action = "deny", inside = ["rar"]}', IN_ZIP, []),
    ('{action = "deny", inside = ["message/rfc822"]}', subject(multipart(MESSAGE_IN_IT)), ["1.1.1"]),
    ('{action = "deny", inside = ["eml"]}', subject(multipart(MESSAGE_IN_IT)), ["1.1.1"]),
    ('{action = "deny", encrypted = true}', subject(b"\r\nx", member("1/1", "a", why="encrypted")), ["1/1"]),
    ('{action = "deny", encrypted = true}', subject(b"\r\nx", unchecked=(("1", "encrypted: 7z"),)), ["1"]),
    ('{action = "deny", encrypted = true}', subject(b"\r\nx", member("1/1", "a", why="damaged")), []),
    ('{action = "deny", signs = ["macro"]}', subject(b"\r\nx", signs=(Sign("1", "macro"),)), ["1"]),
    ('{action = "deny", signs = ["macro"]}', subject(b"\r\nx", signs=(Sign("1", "dde"),)), []),
    # All of them together.
    ('{action = "deny", extensions = ["exe"], inside = ["zip"]}', IN_ZIP, ["1.1/1"]),
    ('{action = "deny", extensions = ["js"], inside = ["zip"]}', IN_ZIP, []),
    ('{action = "deny", extensions = ["exe"], min_depth = 2}', IN_ZIP, []),
]

MORE_FOR_DENY = [
    ('{action = "deny", types = ["audio/*"]}', subject(attached(b"a", b"x", b"audio/x-y")), ["1"]),
    ('{action = "deny", inside_names = ["^a[.]"]}', IN_ZIP, ["1.1/1"]),
    # A container at any distance; and what holds something is more than its own bytes.
    (
        '{action = "deny", extensions = ["exe"], inside = ["zip"]}',
        subject(attached(b"a.zip", ZIP), member("1/1", "b", detected="application/x-tar"), member("1/1/1", "a.exe")),
        ["1/1/1"],
    ),
    (
        '{action = "deny", extensions = ["docm"], signs = ["macro"]}',
        subject(attached(b"a.docm", ZIP), member("1/1", "vbaProject.bin"), signs=(Sign("1/1", "macro"),)),
        ["1"],
    ),
    (
        '{action = "deny", extensions = ["zip"], encrypted = true}',
        subject(attached(b"a.zip", ZIP), member("1/1", "a.txt", why="encrypted")),
        ["1"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "what", "wanted"), MEANINGS + MORE_FOR_DENY)
async def test_what_a_rule_means(rule: str, what: Subject, wanted: list[str]) -> None:
    assert await banned([rule], what) == wanted


EVERYTHING = '{action = "deny", min_depth = 0}'


@pytest.mark.parametrize(("rule", "what", "wanted"), MEANINGS)
async def test_where_a_content_has_one_name_type_and_place_allow_means_what_deny_means(
    rule: str, what: Subject, wanted: list[str]
) -> None:
    everything = await banned([EVERYTHING], what)
    left = await banned([rule.replace('"deny"', '"allow"'), EVERYTHING], what)
    assert left == [path for path in everything if path not in wanted]


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (['{action = "allow", extensions = ["exe"], inside = ["zip"]}', DENY_PROGRAMS], []),
        ([DENY_PROGRAMS, '{action = "allow", extensions = ["exe"], inside = ["zip"]}'], ["1.1/1"]),
        (['{action = "allow", extensions = ["exe"], inside = ["rar"]}', DENY_PROGRAMS], ["1.1/1"]),
        (['{action = "allow", extensions = ["zip"]}', DENY_PROGRAMS], ["1.1/1"]),  # not what is in it
    ],
)
async def test_the_first_rule_that_matches_decides(rules: list[str], wanted: list[str]) -> None:
    assert await banned(rules, IN_ZIP) == wanted


ALLOW_TXT = '{action = "allow", extensions = ["txt"]}'
ALLOW_JS_IN_JAR = '{action = "allow", extensions = ["js"], inside = ["jar"]}'
ALLOW_EXE_IN_ZIP = '{action = "allow", extensions = ["exe"], inside = ["zip"]}'
JS = "a.js"
TWO_NAMES = b'Content-Type: x/y; name="a.txt"\r\nContent-Disposition: attachment; filename="a.exe"\r\n\r\nx'
TWO_FORMS = b"Content-Type: x/y\r\nContent-Disposition: attachment; filename=a.txt; filename*=utf-8''a.exe\r\n\r\nx"
ENCODED_NAME = b'Content-Type: x/y\r\nContent-Disposition: attachment; filename="=?utf-8?q?a=2Eexe?="\r\n\r\nx'

ATTACKS = {
    "two names": (ALLOW_TXT, subject(TWO_NAMES), ["1"]),
    "two names by RFC 2231": (ALLOW_TXT, subject(TWO_FORMS), ["1"]),
    "an encoded name": (ALLOW_TXT, subject(ENCODED_NAME), ["1"]),
    "a stream's name": (ALLOW_TXT, subject(attached(b"a.exe:b.txt")), ["1"]),
    "a name with NUL": (ALLOW_TXT, subject(b"\r\nx", member("1/1", "a.exe\0.txt")), ["1/1"]),
    "two names of a member": (ALLOW_TXT, subject(b"\r\nx", member("1/1", "a.txt", "a.exe")), ["1/1"]),
    "more names than a helper tells": (
        ALLOW_TXT,
        subject(b"\r\nx", replace(member("1/1", "a.txt", declared="application/x-dosexec"), more_names=True)),
        ["1/1"],
    ),
    "a program called text": (ALLOW_TXT, subject(attached(b"a.txt", windows_program())), ["1"]),
    "a program called text, by a pattern": (
        '{action = "allow", names = ["txt$"]}',
        subject(attached(b"a.txt", windows_program())),
        ["1"],
    ),
    "a program of a declared type": (
        '{action = "allow", types = ["text/plain"]}',
        subject(attached(b"a.exe", windows_program(), b"text/plain")),
        ["1"],
    ),
    "an encrypted program, by type": (
        '{action = "allow", types = ["text/plain"]}',
        subject(b"\r\nx", member("1/1", "a.exe", declared="text/plain", why="encrypted")),
        ["1/1"],
    ),
    "an encrypted program, by name": (ALLOW_TXT, subject(b"\r\nx", member("1/1", "a.exe", why="encrypted")), ["1/1"]),
    "a jar in name only": (
        ALLOW_JS_IN_JAR, subject(attached(b"a.jar", RAR), member("1/1", JS)), ["1/1"],
    ),
    "a jar that is a text": (
        ALLOW_JS_IN_JAR, subject(attached(b"a.jar", b"text"), member("1/1", JS)), ["1/1"],
    ),
    "a jar with a second name": (
        ALLOW_JS_IN_JAR,
        subject(
            b"Content-Type: x/y; name=a.jar\r\nContent-Disposition: x; filename=a.zip\r\n\r\n" + ZIP, member("1/1", JS)
        ),
        ["1/1"],
    ),
    "a jar without a name": (
        ALLOW_JS_IN_JAR, subject(b"Content-Type: x/y\r\n\r\n" + ZIP, member("1/1", JS)), ["1/1"],
    ),
    "a document in a zip": (
        ALLOW_EXE_IN_ZIP,
        subject(
            attached(b"a.zip", ZIP), member("1/1", "a.doc", detected="application/msword"), member("1/1/1", "a.exe")
        ),
        ["1/1/1"],
    ),
    "the same archive under a second name": (
        ALLOW_JS_IN_JAR,
        subject(
            multipart(attached(b"a.jar", ZIP), attached(b"a.zip", ZIP)), member("1.1/1", JS), same=(("1.2", "1.1"),)
        ),
        ["1.1/1"],
    ),
    "the same program in a second place": (
        '{action = "allow", extensions = ["exe"], min_depth = 1}',
        subject(
            multipart(attached(b"a.zip", ZIP), attached(b"a.exe", b"MZ")),
            member("1.1/1", "a.exe"),
            same=(("1.2", "1.1/1"),),
        ),
        ["1.2", "1.1/1"],
    ),
    "signs that were found in the copy": (
        '{action = "allow", signs = ["macro"], extensions = ["exe"]}',
        subject(
            multipart(attached(b"b.exe"), attached(b"a.exe")),
            signs=(Sign("1.1", "macro"), Sign("1.1", "dde")),
            same=(("1.2", "1.1"),),
        ),
        ["1.1", "1.2"],
    ),
    "more signs than are allowed": (
        '{action = "allow", signs = ["macro"]}',
        subject(attached(b"a.exe"), signs=(Sign("1", "macro"), Sign("1", "ole-executable"))),
        ["1"],
    ),
    "more signs than are allowed, further inside": (
        '{action = "allow", extensions = ["exe"], signs = ["macro"]}',
        subject(
            attached(b"a.exe", ZIP), member("1/1", "x"), signs=(Sign("1", "macro"), Sign("1/1", "ole-executable"))
        ),
        ["1"],
    ),
    "a second reading": (
        '{action = "allow", inside = ["message/rfc822"]}',
        subject(b"Content-Type: message/rfc822\r\nContent-Type: x/y; name=a.exe\r\n\r\n" + attached(b"b.exe")),
        ["1", "1~2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("allow", "what", "wanted"), ATTACKS.values(), ids=ATTACKS.keys())
async def test_an_allow_rule_covers_no_more_than_it_was_written_for(
    allow: str, what: Subject, wanted: list[str]
) -> None:
    assert await banned([allow, DENY_PROGRAMS], what) == wanted


async def test_a_deny_rule_sees_every_place_of_a_copy() -> None:
    what = subject(
        multipart(attached(b"a.zip", ZIP), attached(b"a.jar", ZIP)), member("1.1/1", JS), same=(("1.2", "1.1"),)
    )
    assert await banned(['{action = "deny", extensions = ["js"], inside = ["jar"]}'], what) == ["1.1/1"]


async def test_an_archive_that_holds_itself_has_an_end() -> None:
    what = subject(attached(b"a.zip", ZIP), member("1/1", "a.zip"), member("1/2", "a.exe"), same=(("1/1", "1"),))
    assert await banned(['{action = "deny", extensions = ["exe"], min_depth = 30}'], what) == ["1/2"]
    assert await banned(['{action = "deny", extensions = ["exe"], inside = ["zip"]}'], what) == ["1/2"]
    assert await banned(['{action = "allow", inside = ["zip"], max_depth = 3}', DENY_PROGRAMS], what) == ["1/2"]
    assert await banned(['{action = "deny", extensions = ["zip"], signs = ["macro"]}'], what) == []


async def test_sets_are_asked_one_after_the_other_and_each_combination_has_its_findings() -> None:
    both = inspector(lax=[ALLOW_EXE_IN_ZIP], strict=[DENY_PROGRAMS])
    combinations = (("lax", "strict"), ("strict", "lax"), ("strict",), ("lax",))
    findings = await both.inspect(replace(IN_ZIP, banned_rules=combinations))
    assert [(each.part, each.banned_rules) for each in findings] == [
        ("1.1/1", ("strict", "lax")),
        ("1.1/1", ("strict",)),
    ]


async def test_a_finding_says_which_rule_it_was_and_what_the_recipient_is_told() -> None:
    text = """
        [banned.set.x]
        text = "Ask us."
        rules = [
            {action = "allow", extensions = ["txt"]},
            {action = "deny", extensions = ["exe"]},
            {action = "deny", extensions = ["js"], text = "No scripts."},
        ]"""
    asked = BannedInspector(config.parse(text, "test").banned.sets)
    raw = multipart(attached(b"a.exe"), attached(b"b.js"), attached(b"c.txt"))
    assert await asked.inspect(subject(raw)) == (
        Finding(Kind.BANNED, "banned", ".exe: a.exe (x, rule 2)", "1.1", banned_rules=("x",), text="Ask us."),
        Finding(Kind.BANNED, "banned", ".js: b.js (x, rule 3)", "1.2", banned_rules=("x",), text="No scripts."),
    )


async def test_a_set_that_there_is_not_is_a_failure_of_those_who_want_it() -> None:
    asked = inspector(strict=[DENY_PROGRAMS])
    findings = await asked.inspect(replace(IN_ZIP, banned_rules=(("strict",), ("strict", "strickt"))))
    assert [(each.kind, each.banned_rules) for each in findings] == [
        (Kind.BANNED, ("strict",)),
        (Kind.FAILURE, ("strict", "strickt")),
    ]
    assert findings[1].name == "there is no set of banned rules called strickt; did you mean strict?"


async def test_a_set_that_needs_libmagic_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(sample: bytes) -> str:
        raise InspectorError("libmagic: gone")

    monkeypatch.setattr(banned_contents, "detect", fail)
    asked = inspector(by_type=['{action = "deny", detected_types = ["x/y"]}'], by_name=[DENY_NAMES])
    what = replace(subject(attached(b"a.exe", ELF)), banned_rules=(("by_name",), ("by_type",), ("by_name", "by_type")))
    assert [(each.kind, each.banned_rules) for each in await asked.inspect(what)] == [
        (Kind.BANNED, ("by_name",)),
        (Kind.FAILURE, ("by_type",)),
        (Kind.FAILURE, ("by_name", "by_type")),
    ]


DENY_NAMES = '{action = "deny", extensions = ["exe"]}'


async def test_the_type_of_a_content_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = []

    def count(sample: bytes) -> str:
        samples.append(sample)
        return "application/pdf"

    monkeypatch.setattr(banned_contents, "detect", count)
    rules = [f'{{action = "deny", detected_types = ["x/{n}"]}}' for n in range(5)]
    asked = inspector(a=rules, b=rules)
    await asked.inspect(replace(subject(attached(b"a", bytes(100))), banned_rules=(("a",), ("b",), ("a", "b"))))
    assert len(samples) == 1


async def test_nothing_of_a_message_is_held_once_it_was_looked_at() -> None:
    """What holds itself is let go only when garbage is collected: ten attachments of many megabytes later."""
    asked = inspector('{action = "deny", names = ["x"], inside = ["zip"]}', DENY_NAMES)
    gc.collect()
    gc.disable()
    try:
        assert len(await asked.inspect(subject(attached(b"a.exe", b"unique" * 100)))) == 1
        held = [each for each in gc.get_objects() if isinstance(each, Part) and each.content().startswith(b"unique")]
        assert held == []
    finally:
        gc.enable()


async def test_work_is_bounded_and_what_was_not_compared_is_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banned_contents, "MOST_COMPARISONS", 100)
    rules = [DENY_NAMES, *(f'{{action = "deny", names = ["x{n}$"]}}' for n in range(9))]
    members = [member(f"1/{n}", "a.exe" if n == 1 else "a.txt") for n in range(1, 100)]
    findings = await inspector(*rules).inspect(subject(b"\r\nx", *members))
    assert [(each.kind, each.part, each.banned_rules) for each in findings] == [
        (Kind.BANNED, "1/1", ("x",)),
        (Kind.UNCHECKED, "", ("x",)),
    ]
    assert len(await inspector(*rules).inspect(subject(b"\r\nx", *members[:2]))) == 1


def test_program_types_and_containers_are_written_as_libmagic_writes_them() -> None:
    types = [each for types in CONTAINER_TYPES.values() for each in types]
    assert all(each == each.lower() and "/" in each for each in (*types, *PROGRAM_TYPES))
    assert all(each == each.lower() and "." not in each for each in (*CONTAINER_TYPES, *PROGRAM_EXTENSIONS))


NAMES = st.lists(st.sampled_from(["a.exe", "b.txt", "a.js", "C.EXE.", "a.exe\0.txt", "x", "a.txt:z"]), max_size=3)


@given(NAMES, st.sampled_from(["application/x-dosexec", "text/plain", "application/pdf"]))
def test_whatever_it_is_called_a_program_is_allowed_only_if_all_its_names_are(names: list[str], detected: str) -> None:
    one = member("1/1", *names, detected=detected)
    asked = inspector('{action = "allow", extensions = ["txt"]}', EVERYTHING)
    found = {each.part for each in asked._findings(subject(b"\r\nx", one))}
    covered = bool(names) and set(names) <= {"b.txt"} and detected != "application/x-dosexec"
    assert ("1/1" not in found) == covered


def rule(text: str) -> str:
    return f"[banned.set.x]\nrules = [{{{text}}}]"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            rule('action = "deny"'),
            "[banned.set.x] rule 1: must say what it is about, by one of declared_types, detected_types, encrypted, e",
        ),
        (
            rule('action = "deny", signs = ["makro"]'),
            "[banned.set.x] rule 1: signs: there is no active content called 'makro'; did you mean macro?",
        ),
        (
            rule('action = "deny", names = ["(a"]'),
            "[banned.set.x] rule 1: names: the pattern '(a' is not valid: missing ): (a",
        ),
        (
            rule('action = "deny", extension = ["a"]'),
            "[banned.set.x] rule 1: extension: unknown key; did you mean extensions?",
        ),
        (rule('extensions = ["a"]'), "[banned.set.x] rule 1: action: must be given"),
        (
            rule('action = "drop", extensions = ["a"]'),
            '[banned.set.x] rule 1: action: must be one of "allow" | "deny"',
        ),
        (rule('action = "deny", extensions = []'), "[banned.set.x] rule 1: extensions: must not be empty"),
        (
            rule('action = "deny", extensions = ["*.exe"]'),
            "[banned.set.x] rule 1: extensions: must be the end of a file name such as \"exe\", not '*.exe'",
        ),
        (
            rule('action = "deny", types = ["zip"]'),
            '[banned.set.x] rule 1: types: must be a media type such as "application/zip" or "audio/*", not \'zip\'',
        ),
        (
            rule('action = "deny", min_depth = 3, max_depth = 2'),
            "[banned.set.x] rule 1: no content matches: min_depth is greater than max_depth",
        ),
        (
            rule('action = "allow", extensions = ["a"], text = "b"'),
            "[banned.set.x] rule 1: text is for deny: who is allowed something is told nothing",
        ),
        (
            rule('action = "allow", inside_names = ["a"]'),
            "[banned.set.x] rule 1: inside_names is for deny: a name does not make a container; use inside",
        ),
        (
            rule('action = "deny", extensions = ["a"], text = "a\\r\\nb"'),
            "[banned.set.x] rule 1: text: must not have control characters or line ends",
        ),
        (
            '[banned.set.x]\nrules = [{action = "deny", max_depth = 1}, {action = "deny", max_depth = -1}]',
            "[banned.set.x] rule 2: max_depth: input should be greater than or equal to 0, not -1",
        ),
        ("[banned.set.x]\nrules = []", "[banned.set.x] rules: must not be empty"),
        ("[banned.set.x]", "[banned.set.x] rules: must be given"),
        ('[banned]\nsigns = ["macros"]', "[banned] signs: there is no active content called 'macros'; did you mean"),
        (
            '[banned]\nnames = []\n[banned.set.default]\nrules = [{action = "deny", min_depth = 1}]',
            "banned: names and [banned.set.default] are two ways to say what the set default is: keep one",
        ),
        (
            '[policy."@x.org"]\nbanned_rules = ["strict", "default"]\n'
            + rule('action = "deny", min_depth = 1').replace("set.x", "set.stricter"),
            '[policy."@x.org"] banned_rules: there is no set of banned rules called strict; did you mean stricter?',
        ),
        (
            '[bank.out]\nlocal_source = true\npolicy = {banned_rules = ["a"]}',
            "[bank.out.policy] banned_rules: there is no set of banned rules called a; known are default",
        ),
    ],
)
def test_a_wrong_set_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "f")
    assert str(caught.value).startswith(f"f: {complaint}")


def test_an_allow_rule_wants_a_container_that_can_be_told() -> None:
    with pytest.raises(ConfigError, match="rule 1: inside: cannot tell whether a content is what 'xyz' says"):
        config.parse(rule('action = "allow", inside = ["xyz"]'), "f")
    config.parse(rule('action = "deny", inside = ["xyz"]'), "f")


def test_sets_are_shown_as_they_were_written() -> None:
    text = """
        [banned.set.default]
        text = "No."
        rules = [{action = "deny", extensions = ["exe"], inside = ["zip"], encrypted = false, max_depth = 2}]
        """
    got = config.parse(text, "f")
    assert config.parse(config.show(got), "shown") == got
    (rules,) = got.banned.sets
    assert (rules.name, rules.text, len(rules.rules)) == ("default", "No.", 1)


@pytest.mark.parametrize("part", ["## A set", "## Examples"])
def test_the_examples_of_the_manual_are_configurations(part: str) -> None:
    section = MANUAL.read_text().partition(f"\n{part}\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    assert examples
    for example in examples:
        assert list(config.parse(example, "manual").banned.sets)


def test_the_manual_tells_of_every_criterion() -> None:
    table = MANUAL.read_text().partition("\n## What a rule may ask for\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line)))
    assert told == set(BannedRuleTable.model_fields) - {"action", "text"}


def test_the_lists_and_further_sets_stand_side_by_side() -> None:
    got = config.parse("[banned]\nextensions = ['a']\n" + rule('action = "deny", min_depth = 1'), "f")
    assert [rules.name for rules in got.banned.sets] == ["default", "x"]
    assert config.parse(config.show(got), "shown") == got
