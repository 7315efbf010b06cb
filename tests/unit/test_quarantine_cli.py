from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.cli import cli as contentfilter_cli
from contentfilter.cli import config_group
from contentfilter.commands.groups import lists_group, policy_group
from contentfilter.message import Message
from contentfilter.printable import printable
from contentfilter.verdict import Action, Category
from quarantine.cli import cli
from quarantine.moments import bytes_of_size, moment, seconds_of_age
from quarantine.record import Record, State, iso_date
from quarantine.store import Quarantine
from quarantine.visible import visible_text, words_of_html
from tests.fakes.next_hop import FakeNextHop
from tests.unit.quarantine_items import NOON, RAW, files, keep, open_quarantine, withheld
from tests.unit.users import locked_out, open_place

HOSTILE = "pay\x1b]0;owned\x07 \x1b[2J\r\n\x9b31m \u202egpj.exe \u2066 \u200e\x00\udcff [bold]now[/bold] :smile:"
UNKNOWN = "z" * 17


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def quarantine(tmp_path: Path) -> Iterator[Quarantine]:
    opened = open_quarantine(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time zone is UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def write_config(tmp_path: Path, next_hop: str = "127.0.0.1:9") -> Path:
    path = tmp_path / "contentfilter.toml"
    path.write_text(
        f'state_directory = "{tmp_path}"\nhostname = "filter.example.org"\n[next_hop]\naddress = "{next_hop}"\n'
    )
    return path


def run(config: Path, *arguments: str, stdin: str | None = None) -> Result:
    words = (*arguments[:1], "--config", str(config), *arguments[1:])
    result = CliRunner().invoke(cli, words, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def listed(config: Path, *arguments: str) -> list[dict[str, Any]]:
    result = run(config, "list", "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    items = json.loads(result.stdout)
    assert isinstance(items, list)
    return items


def is_harmless(output: str) -> bool:
    return all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in output.replace("\n", ""))


# list


def test_list_json_keeps_its_contract(config: Path, quarantine: Quarantine) -> None:
    record = keep(quarantine, to=(withheld("a@x", Category.VIRUS), withheld("b@x")), subject="Grüße")
    assert listed(config) == [
        {
            "id": record.id,
            "time": "2026-11-21T12:00:00Z",
            "category": "virus",
            "state": "pending",
            "mail_from": "eve@example.net",
            "rcpt_tos": ["a@x", "b@x"],
            "subject": "Grüße",
            "size": len(RAW),
            "score": 12.3,
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], "dcba"),
        (["--recipient", "bob@example.org"], "a"),
        (["--sender", "<>"], "b"),
        (["--category", "virus"], "c"),
        (["--category", "virus", "--category", "banned"], "dc"),
        (["--since", "2d"], "dc"),
        (["--until", "2d"], "ba"),
        (["--older-than", "2d"], "ba"),
        (["--older-than", "2d", "--since", "4d"], "b"),
        (["--since", "2030-01-01"], ""),
        (["--subject", "BLUE"], "ba"),
        (["--state", "released"], "d"),
        (["--limit", "3"], "dcb"),
        (["--limit", "3", "--page", "2"], "a"),
        (["--limit", "3", "--page", "3"], ""),
    ],
)
def test_list_filters_and_pages(config: Path, quarantine: Quarantine, arguments: list[str], found: str) -> None:
    now, day = time.time(), 86_400
    ids = {
        keep(quarantine, time=now - 5 * day, to=(withheld("bob@example.org"),), subject="blue pills").id: "a",
        keep(quarantine, time=now - 3 * day, mail_from="", to=(withheld("x@x"),), subject="Blue").id: "b",
        keep(quarantine, time=now - day, to=(withheld("x@x", Category.VIRUS),)).id: "c",
        keep(quarantine, time=now, to=(withheld("x@x", Category.BANNED, State.RELEASED),)).id: "d",
    }
    assert "".join(ids[item["id"]] for item in listed(config, *arguments)) == found


def test_the_table_shows_whole_ids_and_counts(config: Path, quarantine: Quarantine) -> None:
    ids = [keep(quarantine, time=NOON + number).id for number in range(3)]
    result = run(config, "list", "--limit", "2")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", ids[2], ids[1]]
    assert "eve@example.net" in lines[1]
    assert "cheap pills" in lines[1]
    assert result.stderr == "3 items, page 1 of 2\n"


def test_an_empty_quarantine_is_an_empty_list(config: Path, tmp_path: Path) -> None:
    assert listed(config) == []
    result = run(config, "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "0 items\n")
    assert not (tmp_path / "quarantine").exists()


@pytest.mark.parametrize("width", [60, 80, 400])
def test_the_table_fits_a_terminal_and_hostile_text_drives_nothing(
    config: Path, quarantine: Quarantine, width: int
) -> None:
    to = (withheld(f"{HOSTILE}@y"), withheld("z@z"))
    record = keep(quarantine, subject=HOSTILE, mail_from=f"{HOSTILE}@x", to=to)
    output = on_a_terminal([sys.executable, "-m", "quarantine", "list", "--config", str(config)], width)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output).replace("\r\n", "\n")  # what rich writes of its own accord
    assert is_harmless(plain), plain
    assert record.id in plain
    assert "[bold]" in plain or width < 400
    assert max(map(len, plain.splitlines())) <= width
    assert "owned" in plain or width < 400


def on_a_terminal(command: list[str], width: int, keys: bytes = b"") -> str:
    """What the command writes when stdin, stdout and stderr are a terminal of this width."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        os.write(ours, keys)
        output = b""
        try:
            while chunk := os.read(ours, 65536):
                output += chunk
        except OSError:
            pass  # the other side is closed
        process.wait(30)
    os.close(ours)
    return output.decode()


# show


@pytest.mark.parametrize("form", [[], ["--text"], ["--json"]])
def test_show_is_harmless_on_a_terminal(config: Path, quarantine: Quarantine, form: list[str]) -> None:
    raw = f"Subject: {HOSTILE}\r\nX: \x1b[2J\r\n\r\n{HOSTILE}".encode("utf-8", "surrogateescape")
    record = keep(quarantine, raw, subject=HOSTILE, mail_from=HOSTILE, to=(withheld(HOSTILE),))
    result = run(config, "show", record.id, *form)
    assert result.exit_code == 0
    assert is_harmless(result.stdout.replace("\t", "")), result.stdout
    assert "owned" in result.stdout


def test_show_tells_envelope_findings_reasons_and_header(config: Path, quarantine: Quarantine) -> None:
    to = (withheld("bob@example.org"), withheld("ann@example.org", Category.VIRUS, State.RELEASED, Action.REJECT))
    record = keep(quarantine, to=to)
    output = run(config, "show", record.id).stdout
    for expected in (
        f"Id:           {record.id}",
        "From:         <eve@example.net>",
        "Category:     virus",
        "Client:       mx.example.net [192.0.2.1] helo=unknown",
        "Parameters:   BODY=8BITMIME RET=HDRS ENVID=QQ+2B1",
        "<bob@example.org>  spam, discard: pending",
        "<ann@example.org>  virus, reject: released",
        "    spam: 12.3",
        "  spamd: spam: spam [BAYES_99=3.5, URIBL]",
        "  Message-ID: <1@example.net>",
    ):
        assert expected in output
    assert "Buy" not in output


def test_show_json_is_the_record(config: Path, quarantine: Quarantine) -> None:
    record = keep(quarantine)
    assert Record.from_json(run(config, "show", "--json", record.id).stdout) == record


def test_show_raw_gives_the_exact_bytes(config: Path, quarantine: Quarantine) -> None:
    raw = bytes(range(256)) * 5000
    record = keep(quarantine, raw)
    assert run(config, "show", "--raw", record.id).stdout_bytes == raw


def test_show_raw_does_not_go_to_a_terminal(config: Path, quarantine: Quarantine) -> None:
    record = keep(quarantine)
    command = [sys.executable, "-m", "quarantine", "show", "--raw", "--config", str(config), record.id]
    output = on_a_terminal(command, 80)
    assert "Buy" not in output
    assert "could drive your terminal" in output


def test_a_reader_that_leaves_early_is_no_error(config: Path, quarantine: Quarantine) -> None:
    record = keep(quarantine, os.urandom(1_000_000))
    command = [sys.executable, "-m", "quarantine", "show", "--raw", "--config", str(config), record.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_damaged_item_is_shown_as_damaged(config: Path, quarantine: Quarantine, tmp_path: Path) -> None:
    record = keep(quarantine)
    (tmp_path / "quarantine" / "2026-11-21" / f"{record.id}.eml.zst").write_bytes(b"x")
    result = run(config, "show", "--raw", record.id)
    assert result.exit_code == os.EX_DATAERR
    assert (result.stdout, "damaged" in result.stderr) == ("", True)


# release


async def invoke(config: Path, *arguments: str, stdin: str | None = None) -> Result:
    return await asyncio.to_thread(run, config, *arguments, stdin=stdin)


async def test_release_goes_through_the_configured_next_hop(quarantine: Quarantine, tmp_path: Path) -> None:
    first, second = keep(quarantine), keep(quarantine)
    async with FakeNextHop() as hop:
        config = write_config(tmp_path, hop.address)
        result = await invoke(config, "release", "-", stdin=f"{first.id}\n{second.id}\n{first.id}\n")
        assert result.exit_code == 0, result.stderr
        assert result.stdout.splitlines()[0].startswith(f"{first.id} released to <bob@example.org>: 250")
        again = await invoke(config, "release", first.id)
        assert (again.exit_code, "nobody waits" in again.stdout) == (0, True)
        assert len(hop.delivered) == 2
        forced = await invoke(config, "release", "--again", "--json", first.id)
    assert [one.content.endswith(RAW) for one in hop.delivered] == [True] * 3
    (values,) = json.loads(forced.stdout)
    assert (values["id"], values["error"], values["already"]) == (first.id, None, [])
    assert values["sent"][0]["recipient"] == "bob@example.org"
    assert values["sent"][0]["released"] is True
    assert {item["state"] for item in listed(config)} == {"released"}


async def test_release_to_another_address_as_attachment(quarantine: Quarantine, tmp_path: Path) -> None:
    record = keep(quarantine)
    async with FakeNextHop() as hop:
        config = write_config(tmp_path, hop.address)
        result = await invoke(config, "release", record.id, "--to", "<me@example.org>", "--as-attachment")
    assert result.exit_code == 0
    assert hop.delivered[0].rcpt_tos == ["me@example.org"]
    assert b"message/rfc822" in hop.delivered[0].content
    assert listed(config)[0]["state"] == "pending"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ({"RCPT:<bob@example.org>": "450 4.2.0 later"}, os.EX_TEMPFAIL),
        ({"RCPT:<bob@example.org>": "550 5.1.1 unknown"}, os.EX_UNAVAILABLE),
        ({"RCPT:<bob@example.org>": "550 5.1.1 unknown", "RCPT:<ann@example.org>": "450 4.2.0 later"}, os.EX_TEMPFAIL),
        ({"dot": "451 4.3.0 full"}, os.EX_TEMPFAIL),
        ({"dot": "554 5.7.1 \x1b[2Jno"}, os.EX_UNAVAILABLE),
    ],
)
async def test_a_release_that_fails_says_so(
    quarantine: Quarantine, tmp_path: Path, script: dict[str, str], code: int
) -> None:
    record = keep(quarantine, to=(withheld("bob@example.org"), withheld("ann@example.org")))
    async with FakeNextHop(script) as hop:
        config = write_config(tmp_path, hop.address)
        result = await invoke(config, "release", record.id)
    assert result.exit_code == code
    assert "NOT released to <bob@example.org>" in result.stdout
    assert is_harmless(result.stdout)
    assert listed(config)[0]["state"] == "pending"


def test_no_next_hop_is_a_temporary_failure(quarantine: Quarantine, tmp_path: Path) -> None:
    record = keep(quarantine)
    config = write_config(tmp_path, f"unix:{tmp_path}/nobody")
    result = run(config, "release", record.id)
    assert result.exit_code == os.EX_TEMPFAIL
    assert listed(config)[0]["state"] == "pending"


async def test_a_failing_item_does_not_keep_the_others(quarantine: Quarantine, tmp_path: Path) -> None:
    record = keep(quarantine)
    async with FakeNextHop() as hop:
        config = write_config(tmp_path, hop.address)
        result = await invoke(config, "release", UNKNOWN, record.id)
    assert result.exit_code == os.EX_NOINPUT
    assert f"no item {UNKNOWN}" in result.stderr
    assert len(hop.delivered) == 1


# delete, expire, reindex


def test_delete_wants_to_be_told_twice(config: Path, quarantine: Quarantine, tmp_path: Path) -> None:
    first, second = keep(quarantine), keep(quarantine)
    refused = run(config, "delete", first.id)
    assert (refused.exit_code, "--yes" in refused.stderr) == (os.EX_USAGE, True)
    assert len(files(tmp_path)) == 4
    done = run(config, "delete", "--yes", "--json", first.id, UNKNOWN, second.id)
    assert done.exit_code == os.EX_NOINPUT
    assert [(row["id"], row["deleted"]) for row in json.loads(done.stdout)] == [
        (first.id, True),
        (UNKNOWN, False),
        (second.id, True),
    ]
    assert files(tmp_path) == []
    assert listed(config) == []


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 2), (b"y\n", 0)])
def test_delete_asks_a_person(config: Path, quarantine: Quarantine, tmp_path: Path, answer: bytes, left: int) -> None:
    record = keep(quarantine)
    command = [sys.executable, "-m", "quarantine", "delete", "--config", str(config), record.id]
    assert "for good?" in on_a_terminal(command, 80, answer)
    assert len(files(tmp_path)) == left


def test_expire_obeys_configuration_and_options(config: Path, quarantine: Quarantine) -> None:
    old = keep(quarantine, time=1_000_000_000.0)
    recent = keep(quarantine, time=time.time() - 3 * 86_400)
    dry = json.loads(run(config, "expire", "--dry-run", "--keep-days", "1", "--json").stdout)
    assert dry["expired"] == [old.id, recent.id]
    done = json.loads(run(config, "expire", "--json").stdout)
    assert (done["expired"], done["dry_run"]) == ([old.id], False)
    assert [item["id"] for item in listed(config)] == [recent.id]
    assert "1 items" in run(config, "expire", "--max-size", "1").stdout
    assert listed(config) == []


def test_reindex_brings_back_what_the_index_lost(config: Path, quarantine: Quarantine, tmp_path: Path) -> None:
    record, broken = keep(quarantine), keep(quarantine)
    before = listed(config)
    quarantine.close()
    (tmp_path / "quarantine" / "index.sqlite").write_bytes(b"no database" * 1000)
    result = run(config, "reindex", "--json")
    assert json.loads(result.stdout) == {
        "indexed": 2, "rebuilt": True, "damaged": [], "gone": [], "busy": [], "leftovers": [],
    }  # fmt: skip
    assert listed(config) == before
    (tmp_path / "quarantine" / "2026-11-21" / f"{broken.id}.json").write_text("{")
    result = run(config, "reindex")
    assert result.exit_code == os.EX_DATAERR
    assert f"item {broken.id} is damaged" in result.stderr
    assert record.id in {item["id"] for item in listed(config)}


# Wrong command lines.


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", UNKNOWN], os.EX_NOINPUT),
        (["show", "../../etc/passwd"], os.EX_DATAERR),
        (["release", "\x1b[2J"], os.EX_DATAERR),
        (["release", UNKNOWN], os.EX_NOINPUT),
        (["release"], os.EX_USAGE),
        (["release", UNKNOWN, "--to", "nobody"], os.EX_USAGE),
        (["release", UNKNOWN, "--to", "a@b> NOTIFY=NEVER"], os.EX_USAGE),
        (["delete", "--yes", UNKNOWN], os.EX_NOINPUT),
        (["list", "--category", "nonsense"], os.EX_USAGE),
        (["list", "--since", "yesterday"], os.EX_USAGE),
        (["list", "--older-than", "2026-01-01"], os.EX_USAGE),
        (["list", "--page", "0"], os.EX_USAGE),
        (["list", "--nonsense"], os.EX_USAGE),
        (["expire", "--max-size", "-1"], os.EX_USAGE),
        (["expire", "--keep-days", "0"], os.EX_USAGE),
        (["show", "--raw", "--text", UNKNOWN], os.EX_USAGE),
        (["nonsense"], os.EX_USAGE),
    ],
)
def test_what_is_wrong_is_told_by_exit_code_and_one_clear_text(config: Path, arguments: list[str], code: int) -> None:
    result = run(config, *arguments)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr
    assert "Traceback" not in result.stderr
    assert is_harmless(result.stderr)


@pytest.mark.parametrize("text", ["nonsense = 1", "[quarantine]\nkeep_days = 0", "\x00"])
def test_a_broken_configuration_ends_with_its_own_code(config: Path, text: str) -> None:
    config.write_text(text)
    result = run(config, "list")
    assert result.exit_code == os.EX_CONFIG
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    result = run(tmp_path / "none.toml", "list")
    assert (result.exit_code, "none.toml" in result.stderr) == (os.EX_CONFIG, True)


# The small parts.


@given(st.text(st.characters(codec=None)))
def test_printable_text_drives_nothing_and_keeps_the_rest(text: str) -> None:
    shown = printable(text)
    assert is_harmless(shown)
    if all(unicodedata.category(c)[0] in "LMNPSZ" and c not in "\u2028\u2029" for c in text):
        assert shown == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("12h", 43200), ("7d", 604800), ("2w", 1209600), ("1.5d", 129600)]
)
def test_ages(text: str, seconds: float) -> None:
    assert seconds_of_age(text) == seconds
    assert moment(text, NOON) == NOON - seconds


@pytest.mark.parametrize(
    ("text", "expected", "end"),
    [
        ("2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z", True),
        ("2026-11-21T12:00:00+02:00", "2026-11-21T10:00:00Z", False),
        ("2026-11-21", "2026-11-21T00:00:00Z", False),
        ("2026-11-21", "2026-11-22T00:00:00Z", True),
    ],
)
def test_dates(in_utc: None, text: str, expected: str, end: bool) -> None:
    assert iso_date(moment(text, NOON, end_of_day=end)) == expected


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7 d", "1e9d", "9999999d", "2026-13-01", "99999-01-01"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="is no age"):
        moment(text, NOON)


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("500", 500), ("500M", 500 << 20), ("2 GiB", 2 << 30)])
def test_sizes(text: str, size: int) -> None:
    assert bytes_of_size(text) == size


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<p>Hello&nbsp;<b>you</b></p><p>there", "Hello\xa0you\n\nthere"),
        ("<style>p{}</style><script>if (a<b) alert('<p>')</script>text", "text"),
        ("<!-- comment -->a &lt;b&gt;<br>c", "a <b>\nc"),
        ("a < b", "a < b"),
        ("", ""),
    ],
)
def test_words_of_a_page(page: str, words: str) -> None:
    assert words_of_html(page) == words


HARD: list[Callable[[int], str]] = [
    lambda size: "<" * size,
    lambda size: "<style" * (size // 6),
    lambda size: "<p>" * (size // 3),
    lambda size: "&" * size,
    lambda size: "\n " * (size // 2),
    lambda size: "<!--" * (size // 4),
]


@pytest.mark.parametrize("page", HARD)
def test_a_page_made_to_be_slow_is_read_in_no_more_than_a_few_steps_a_byte(page: Callable[[int], str]) -> None:
    """A quadratic reading of 256 kB would not come back within the patience of anybody who runs the tests."""
    words_of_html(page(262_144))


def test_text_names_what_it_does_not_show() -> None:
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Gr=FC=DFe\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>page</p>\r\n"
        b'--b\r\nContent-Type: application/pdf; name="a.pdf"\r\n\r\n%PDF\r\n--b--\r\n'
    )
    with Message(raw) as message:
        assert visible_text(message) == "Grüße\n\npage\n\n[application/pdf 'a.pdf', 4 bytes]"


# users who may not look


@pytest.mark.parametrize("closed", ["", "quarantine"], ids=["state_directory", "quarantine"])
@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--json"], ["show", UNKNOWN], ["expire"], ["expire", "--dry-run"], ["reindex"],
                  ["delete", "--yes", UNKNOWN], ["release", UNKNOWN]],
    ids=" ".join,
)  # fmt: skip
def test_who_may_not_look_is_told_so(arguments: list[str], closed: str) -> None:
    with open_place() as place:
        state = place / "state"
        state.mkdir()
        config = write_config(place)
        config.write_text(config.read_text().replace(f'"{place}"', f'"{state}"'))
        opened = open_quarantine(state)
        keep(opened)
        opened.close()
        with locked_out(state / closed):
            result = run(config, *arguments)
    assert result.exit_code == os.EX_NOPERM
    assert result.stdout == ""
    assert "Permission denied" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_in_the_place_of_the_quarantine_is_not_an_empty_one(config: Path, tmp_path: Path) -> None:
    (tmp_path / "quarantine").write_text("")
    result = run(config, "list")
    assert result.exit_code == os.EX_IOERR
    assert "Not a directory" in result.stderr


def test_the_version() -> None:
    assert re.fullmatch(r"quarantine, version \d+\.\d+\.\d+\n", CliRunner().invoke(cli, ["--version"]).stdout)


@pytest.mark.parametrize(
    "command",
    [cli, contentfilter_cli, config_group, policy_group, lists_group],
    ids=["quarantine", "contentfilter", "config", "policy", "lists"],
)
def test_the_help_of_a_group_says_each_thing_to_its_end(command: click.Group) -> None:
    shown = CliRunner().invoke(command, ["--help"]).stdout
    assert "..." not in shown.partition("Commands:")[2]


def test_options_that_all_commands_share_are_described_alike() -> None:
    groups = [cli, contentfilter_cli, config_group, policy_group, lists_group]
    commands = [command for group in groups for command in group.commands.values()]
    options = [one for command in commands for one in command.params if isinstance(one, click.Option)]
    for name in ("as_json", "path"):
        assert len({one.help for one in options if one.name == name}) == 1
    assert all(one.help for one in options)
