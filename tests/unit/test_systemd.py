"""What systemd hears: sd_notify(3) and sd_watchdog_enabled(3)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentfilter import systemd


@pytest.fixture
def notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def heard(notices: socket.socket) -> list[bytes]:
    found = []
    try:
        while True:
            found.append(notices.recv(1000))
    except BlockingIOError:
        return found


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "4711"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "4712"}, 0.0),
        ({"WATCHDOG_USEC": "0"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "x"}, 0.0),
        ({"WATCHDOG_PID": "4711"}, 0.0),
    ],
)
def test_whether_and_how_often_it_wants_signs_of_life(environment: dict[str, str], interval: float) -> None:
    assert systemd.Watchdog.wanted(environment, 4711).interval == interval


def test_signs_of_life_come_no_more_often_than_that(notices: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("contentfilter.systemd.time.monotonic", lambda: now)
    watchdog = systemd.Watchdog(10.0)
    for now, wanted in ((1000.0, 1), (1001.0, 0), (1009.9, 0), (1010.0, 1), (1015.0, 0), (1300.0, 1)):  # noqa: B007
        watchdog.keep_alive()
        assert heard(notices) == [b"WATCHDOG=1"] * wanted


def test_where_none_is_wanted_there_is_none(notices: socket.socket) -> None:
    systemd.Watchdog().keep_alive()
    systemd.notify("READY=1", "STATUS=here")
    assert heard(notices) == [b"READY=1\nSTATUS=here"]


def test_a_socket_that_is_gone_or_full_stops_nobody(notices: socket.socket, tmp_path: Path) -> None:
    for _ in range(5000):
        systemd.notify("WATCHDOG=1")
    assert 0 < len(heard(notices)) < 5000
    (tmp_path / "notify").unlink()
    systemd.notify("READY=1")
