"""The history: what was handled comes back as it was, whoever writes at the same time, and nothing of it stops mail."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contentfilter import history
from contentfilter.case import Case
from contentfilter.decision import OnFailure
from contentfilter.envelope import Client
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test
from contentfilter.handled import LONGEST_LINE, Group, Handled
from contentfilter.history import History, expire, find
from contentfilter.mail_id import new_id
from contentfilter.policy.entry import Effective, Entry, merged, settings_of
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.settings import Local, Policy
from contentfilter.verdict import Action, Category, Verdict

NOON = 1_795_262_400.0
"""2026-11-21 12:00 UTC."""
DAY = 86_400.0
SITE = Entry("contentfilter.toml", "default", settings_of(Policy(kill_level=6.9, tag3_level=float("inf"))))
SPAM = Verdict(Category.SPAM, Action.DISCARD, quarantine=True, reasons=("spam: score 7 >= kill_level 6.9",), score=7.0)
CLEAN = Verdict(Category.CLEAN, Action.PASS, reasons=("nothing found",))
SCORE = Finding(Kind.SPAM, "spamd", "spam score", score=7.0, tests=(Test("A", 7.0), Test("B")))
HIT = Finding(Kind.RULE, "rules", "PILLS", score=3.0, rule=RuleHit(RuleAction.SCORE, "body_checks:12", "PILLS"))


def effective(*entries: Entry, listing: ListEntry | None = None) -> Effective:
    return Effective(merged((*entries, SITE)), (*entries, SITE), listing)


def handled(*groups: Group, mail_id: str = "", **more: object) -> Handled:
    values: dict[str, object] = {
        "id": mail_id or new_id(),
        "time": NOON,
        "mail_from": "eve@example.net",
        "groups": groups or (Group(("bob@example.org",), SPAM, effective(), "250 2.7.0 Ok, quarantined"),),
        "size": 3400,
        "findings": (SCORE, HIT),
        "on_failure": {"clamd": OnFailure.DEFER},
        "client": Client(name="mx.example.net", addr="192.0.2.1", ident="4XyZ1"),
        "message_id": "<1@example.net>",
        "subject": "cheap pills",
    }
    return Handled(**{**values, **more})  # type: ignore[arg-type]  # handed through as they are


TEXT = st.text(st.characters(codec=None), max_size=20)  # surrogates included: undecodable bytes look like that
NAME = st.text(st.characters(codec=None, exclude_categories=("Cc", "Zl", "Zp")), max_size=20)
ENTRIES = st.builds(
    lambda source, key, values: Entry(source, key, settings_of(Policy.model_validate(values))),
    TEXT,
    TEXT,
    st.fixed_dictionaries(
        {},
        optional={
            "kill_level": st.floats(allow_nan=False),
            "spam_action": st.sampled_from(Action),
            "local": st.sampled_from(Local),
            "banned_rules": st.sampled_from([(), ("default",), ("a", "b")]),
            "spam_user": NAME,
            "message_size_limit": st.integers(0, 2**40),
        },
    ),
)
LISTINGS = st.builds(ListEntry, TEXT, TEXT, TEXT, st.sampled_from(Effect), st.floats(-99, 99))
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(Category),
    st.sampled_from(Action),
    quarantine=st.booleans(),
    reasons=st.lists(TEXT, max_size=2).map(tuple),
    local=st.booleans(),
    score=st.none() | st.floats(-99, 99),
    shadowed=st.none() | st.just(SPAM),
)
GROUPS = st.builds(
    lambda to, verdict, entries, listing, reply: Group(to, verdict, effective(*entries, listing=listing), reply),
    st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    VERDICTS,
    st.lists(ENTRIES, max_size=2),
    st.none() | LISTINGS,
    TEXT,
)


@given(st.lists(GROUPS, min_size=1, max_size=3), TEXT, TEXT, TEXT)
@settings(deadline=None)
def test_a_message_comes_back_from_its_line(groups: list[Group], sender: str, subject: str, helo: str) -> None:
    before = handled(*groups, mail_from=sender, subject=subject, client=Client(helo=helo or None))
    line = before.to_line()
    assert Handled.from_line(line) == before
    text = line.decode("ascii").removesuffix("\n")
    assert text.isprintable(), "nothing in it drives a terminal or ends the line"


def test_a_line_is_what_other_programs_can_read() -> None:
    values = json.loads(handled().to_line())
    assert (values["time"], values["mail_from"]) == ("2026-11-21T12:00:00.000+00:00", "eve@example.net")
    assert values["client"] == {"name": "mx.example.net", "addr": "192.0.2.1", "ident": "4XyZ1"}
    assert values["entries"][0]["settings"] == {"kill_level": 6.9, "tag3_level": "inf"}
    (group,) = values["groups"]
    assert (group["to"], group["verdict"]["category"], group["entries"]) == (["bob@example.org"], "spam", [0])


def test_two_thousand_recipients_who_fare_alike_are_a_small_line() -> None:
    everybody = tuple(f"user{number}@example.org" for number in range(2000))
    line = handled(Group(everybody, CLEAN, effective(), "250 2.0.0 Ok: queued as 4XyZ2")).to_line()
    assert len(line) < 60_000
    assert Handled.from_line(line).groups[0].recipients == everybody


def test_two_thousand_recipients_who_have_each_his_own_share_what_they_have_in_common() -> None:
    line = handled(
        *(
            Group((f"u{number}@x",), CLEAN, effective(Entry("sql", f"u{number}@x", (("kill_level", float(number)),))))
            for number in range(2000)
        )
    ).to_line()
    assert len(line) <= LONGEST_LINE
    back = Handled.from_line(line)
    assert back.count + back.left_out == 2000
    assert back.groups[7].effective is not None
    assert back.groups[7].effective.policy.kill_level == 7.0


@pytest.mark.parametrize(
    "hostile",
    [
        handled(Group(tuple(f"{number}{'ü' * 500}@x" for number in range(2000)), CLEAN, effective())),
        handled(findings=tuple(replace(HIT, name="😀" * 999, part=str(number)) for number in range(3000))),
        handled(subject="😀" * 10**6, message_id="x" * 10**6, client=Client(helo="\udcff" * 10**5)),
        handled(Group(("bob@x",), replace(SPAM, reasons=("\0" * 10**5,) * 1000), effective())),
        handled(findings=(replace(SCORE, tests=tuple(Test("T" * 10**4, 1.0) for _ in range(10**3))),)),
    ],
    ids=["recipients", "findings", "fields", "reasons", "tests"],
)
def test_a_line_is_bounded_whatever_comes(hostile: Handled) -> None:
    line = hostile.to_line()
    assert len(line) <= LONGEST_LINE
    back = Handled.from_line(line)
    assert back.count > 0
    assert back.count + back.left_out == hostile.count


def test_what_a_later_version_wrote_is_read_as_far_as_it_is_known() -> None:
    values = json.loads(handled().to_line())
    values["entries"][0]["settings"]["newer_setting"] = 1
    values["findings"][0]["newer_field"] = "x"
    values["newer"] = True
    assert Handled.from_line(json.dumps(values).encode()).groups[0].effective == effective()


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b"null", b"7", b'{"id": 1}', b"\xff", b'{"entries":[{}]}', b"[" * 100_000]
)
def test_what_is_no_line_of_ours_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Handled.from_line(line)


# Files


def _write_many(directory: Path, marks: list[str]) -> None:
    writer = History(directory, lambda: NOON)
    for mark in marks:
        writer.add(handled(mail_id=mark, subject=mark * 50))


def test_lines_of_several_processes_never_interleave(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    marks = [[new_id() for _ in range(400)] for _ in range(4)]
    workers = [context.Process(target=_write_many, args=(tmp_path / "history", mine)) for mine in marks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    lines = (tmp_path / "history" / "2026-11-21.jsonl").read_bytes().splitlines()
    assert Counter(Handled.from_line(line).id for line in lines) == Counter(mark for mine in marks for mark in mine)


async def test_a_long_line_is_written_off_the_loop_and_is_there(tmp_path: Path) -> None:
    writer = History(tmp_path / "history", lambda: NOON)
    one = handled(Group(tuple(f"u{number}@x" for number in range(history.MANY + 1)), CLEAN, effective()))
    writer.add(one)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert find(tmp_path / "history", one.id) == [one]
    writer.add(replace(one, id="k7hw2mzqv9tq4c8xn"))  # there are no threads any more
    assert find(tmp_path / "history", "k7hw2mzqv9tq4c8xn")


async def test_lines_that_wait_for_a_disk_that_hangs_are_no_more_than_so_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(history, "MOST_PENDING", 3)
    writer = History(tmp_path / "history", lambda: NOON)
    one = handled(Group(tuple(f"u{number}@x" for number in range(history.MANY + 1)), CLEAN, effective()))
    with writer._guard:  # whoever writes now does not come to an end
        for _ in range(5):
            writer.add(one)
        assert "1 messages are missing from the history" in caplog.text
    async with asyncio.timeout(20):
        while writer._pending:
            await asyncio.sleep(0.001)
    writer.add(one)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert find(tmp_path / "history", one.id) == [one] * 4


def test_a_new_file_begins_at_midnight_utc(tmp_path: Path) -> None:
    times = iter([NOON, NOON + DAY / 2 - 1, NOON + DAY / 2, NOON + DAY])
    writer = History(tmp_path / "history", lambda: next(times))
    for _ in range(4):
        writer.add(handled())
    got = {path.name: len(path.read_bytes().splitlines()) for path in (tmp_path / "history").iterdir()}
    assert got == {"2026-11-21.jsonl": 2, "2026-11-22.jsonl": 2}


def test_permissions(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        History(tmp_path / "history", lambda: NOON).add(handled())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "history").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "history" / "2026-11-21.jsonl").stat().st_mode) == 0o640


def test_a_file_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    writer = History(tmp_path, lambda: NOON)
    writer.add(handled())
    (tmp_path / "2026-11-21.jsonl").unlink()
    one = handled()
    writer.add(one)
    assert find(tmp_path, one.id) == [one]


def _link_of_file(directory: Path, target: Path) -> None:
    directory.mkdir()
    (directory / "2026-11-21.jsonl").symlink_to(target)


def _link_of_directory(directory: Path, target: Path) -> None:
    (target.parent / "elsewhere").mkdir()
    directory.symlink_to(target.parent / "elsewhere")


def _pipe(directory: Path, target: Path) -> None:
    directory.mkdir()
    os.mkfifo(directory / "2026-11-21.jsonl")


def _file(directory: Path, target: Path) -> None:
    directory.write_text("")


@pytest.mark.parametrize("prepare", [_link_of_file, _link_of_directory, _pipe, _file])
def test_nothing_is_written_where_it_does_not_belong(
    prepare: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    prepare(tmp_path / "history", target)  # type: ignore[operator]
    writer = History(tmp_path / "history", lambda: NOON)
    writer.add(handled())
    writer.add(handled())
    assert target.read_text() == "untouched"
    assert not list(tmp_path.glob("elsewhere/*"))
    assert len(caplog.records) == 1, "it is said once, not for each message"


def test_a_full_disk_is_said_once_and_loses_only_what_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = History(tmp_path, lambda: NOON)
    first, cut, lost, last = (handled() for _ in range(4))
    writer.add(first)
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:100]))
        writer.add(cut)
        patch.setattr(os, "write", full)
        writer.add(lost)
    writer.add(last)
    assert [bool(find(tmp_path, one.id)) for one in (first, cut, lost, last)] == [True, False, False, True]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "missing from the history" in caplog.text


@pytest.mark.parametrize("step", ["to_line", "of"])
def test_whatever_goes_wrong_does_not_reach_the_pipeline(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Handled, step, lambda *_: 1 / 0)
    writer = History(tmp_path)
    writer.add(handled()) if step == "to_line" else writer.note(cast(Case, None), [])
    assert "division by zero" in caplog.text


# Expiry


@pytest.mark.parametrize(
    ("keep_days", "gone"),
    [(7, ["2026-11-13.jsonl"]), (1, ["2026-11-13.jsonl", "2026-11-14.jsonl"]), (400, [])],
)
def test_files_go_when_every_line_in_them_is_too_old(keep_days: int, gone: list[str], tmp_path: Path) -> None:
    others = {"2026-13-45.jsonl", "notes.txt", "2026-11-01.jsonl.bak"}
    for name in ("2026-11-13.jsonl", "2026-11-14.jsonl", "2026-11-20.jsonl", "2026-11-21.jsonl", *others):
        (tmp_path / name).write_text("")
    assert expire(tmp_path, keep_days, NOON) == gone
    left = {path.name for path in tmp_path.iterdir()}
    assert left.isdisjoint(gone)
    assert left >= others | {"2026-11-20.jsonl", "2026-11-21.jsonl"}


def test_without_history_what_there_was_goes(tmp_path: Path) -> None:
    (tmp_path / "2026-11-21.jsonl").write_text("")
    assert expire(tmp_path, 0, NOON) == ["2026-11-21.jsonl"]


def test_expiry_deletes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("x")
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "2020-01-01.jsonl").symlink_to(target)
    expire(tmp_path / "h", 7, NOON)
    assert target.exists()
    assert not list((tmp_path / "h").iterdir())


def test_no_history_is_nothing_to_expire_and_nothing_to_find(tmp_path: Path) -> None:
    assert expire(tmp_path / "none", 7, NOON) == []
    assert find(tmp_path / "none", new_id()) == []


# Finding


def test_a_message_is_found_by_id_and_by_both_queue_ids_and_by_nothing_else(tmp_path: Path) -> None:
    now = [NOON]
    writer = History(tmp_path, lambda: now[0])
    deferred = handled(Group(("bob@x",), CLEAN, effective(), "451 4.4.1 The next hop does not answer"))
    delivered = handled(Group(("bob@x",), CLEAN, effective(), "250 2.0.0 Ok: queued as 5AbC7"))
    other = handled(client=Client(ident="4XyZ12"), subject="4XyZ1 5AbC7")
    for one in (deferred, other, delivered):
        writer.add(one)
        now[0] += DAY
    assert find(tmp_path, delivered.id) == [delivered]
    assert find(tmp_path, "4XyZ1") == [deferred, delivered], "oldest first, over all days"
    assert find(tmp_path, "5AbC7") == [delivered]
    assert find(tmp_path, "4XyZ") == []
    assert find(tmp_path, "\udcff") == []


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    one = handled()
    (tmp_path / "2026-11-21.jsonl").write_bytes(one.to_line()[:-9] + b"\n" + b"x" * 10**6 + b"\n" + one.to_line())
    assert find(tmp_path, one.id) == [one]
