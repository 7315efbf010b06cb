"""That the instrument measures what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contentfilter.config.scanners import SpamAssassin
from demo.neighbours.daemon import Daemon, ask, find_program, free_port
from tests.bench.comparison import Figures, percentile
from tests.bench.driver import SPAM_SIZE_LIMIT, Plan, drive, saved
from tests.bench.profiles import MIX, PROFILES, Letter
from tests.bench.results import Results, regressions
from tests.bench.sides import OURS, Scanners
from tests.bench.usage import cpu_seconds, proportional_memory

_BURN = "import time\nwhile time.process_time() < 0.3: pass"
_HOLD = "content = b'x' * 50_000_000; print('ready', flush=True); input()"


@contextmanager
def parent_of(program: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a program in a session of its own, says "ended" afterwards, and waits to be told to end."""
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}], start_new_session=True)"
    command = [sys.executable, "-c", f"{code}\nprint('ended', flush=True)\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate("\n\n")


def test_the_processor_time_of_a_child_that_has_ended_counts() -> None:
    with parent_of(_BURN) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ended\n"
        assert cpu_seconds((process.pid,)) >= 0.28


def test_the_memory_of_a_child_in_a_session_of_its_own_counts() -> None:
    with parent_of(_HOLD) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert proportional_memory((process.pid,)) >= 50_000_000


@contextmanager
def sink(directory: Path, *options: str) -> Iterator[int]:
    port = free_port()
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [find_program("smtp-sink", "postfix"), *as_user, *options, f"127.0.0.1:{port}", "100"]
    daemon = Daemon(command, directory / "log")
    try:
        daemon.wait_until(lambda: ask(("127.0.0.1", port), b"QUIT\r\n").startswith(b"220"), 10)
        yield port
    finally:
        daemon.stop()


def test_the_driver_counts_what_arrives_whole(tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    content = b"Subject: dots\n\n.one\n..two\n"
    letters = (saved(Letter(content, 3), tmp_path / "letter"),)
    (tmp_path / "dump").chmod(0o777)
    # -d writes each message to a file of its own, in the directory that -R says.
    with sink(tmp_path, "-R", f"{tmp_path}/dump", "-d", "%M.") as port:
        result = drive(Plan(letters, port, sessions=2, count=7, seconds=60))
    assert (len(result.latencies), result.failed) == (7, [])
    arrived = [file.read_text() for file in (tmp_path / "dump").iterdir()]
    assert len(arrived) == 7
    assert all(text.count("X-Rcpt-Args") == 3 and "\n.one\n..two\n" in text for text in arrived)


def test_the_driver_keeps_to_a_rate(tmp_path: Path) -> None:
    letters = (saved(Letter(b"Subject: x\n\nx\n"), tmp_path / "letter"),)
    with sink(tmp_path) as port:
        result = drive(Plan(letters, port, rate=100, seconds=0.5))
    assert len(result.latencies) == 50
    assert result.seconds >= 0.45  # the last one is due after 0.49, and a timer may be a little early


def test_spamd_alone_is_asked_for_as_much_of_a_message_as_the_filters_show_it(tmp_path: Path) -> None:
    small, large = Letter(b"Subject: x\n\nx\n"), Letter(b"Subject: x\n\n" + b"a line\n" * 200_000)
    whole, shown = (Path(saved(one, tmp_path / "letter", for_spamd=True)[0]).stat().st_size for one in (small, large))
    assert whole == len(small.content) + 3
    assert SPAM_SIZE_LIMIT - 8 < shown <= SPAM_SIZE_LIMIT
    assert SpamAssassin().size_limit == SPAM_SIZE_LIMIT


def test_what_is_refused_is_not_counted(tmp_path: Path) -> None:
    letters = (saved(Letter(b"Subject: x\n\nx\n"), tmp_path / "letter"),)
    with sink(tmp_path, "-f", "RCPT") as port:
        result = drive(Plan(letters, port, sessions=1, count=3, seconds=60))
    assert result.latencies == []
    assert [answer[:1] for answer in result.failed] == ["5"] * 3


@pytest.mark.parametrize("name", PROFILES)
def test_messages_are_the_same_in_every_run(name: str) -> None:
    assert PROFILES[name]() == PROFILES[name]()


def test_the_mix_is_of_a_hundred() -> None:
    assert sum(count for count, _ in MIX) == len(PROFILES["mix"]().letters) == 100


@pytest.mark.parametrize(("cpu", "word"), [(1.3, "MORE"), (1.02, "the same"), (0.7, "less")])
def test_a_change_is_reported(cpu: float, word: str, tmp_path: Path) -> None:
    Results(comparison=[Figures(Scanners.CLAMD.value, "text", OURS, [10.0], cpu=1.0)]).save(tmp_path)
    now = Results(comparison=[Figures(Scanners.CLAMD.value, "text", OURS, [10.0], cpu=cpu)])
    report = regressions(now, Results.load(tmp_path))
    assert report.splitlines()[-1].endswith(f"| {word} |")


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([], 0.5)) == (51.0, 100.0, 0.0)
