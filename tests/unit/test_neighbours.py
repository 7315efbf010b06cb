from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.neighbours.daemon import Daemon, MissingProgramError, StartError, find_program, free_port


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(MissingProgramError, match="apt-get install clamav-daemon"):
        find_program("no-such-program-anywhere", "clamav-daemon")


def test_a_program_that_gives_up_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    daemon = Daemon(["/bin/sh", "-c", "echo no such option; exit 1"], tmp_path / "log")
    with pytest.raises(StartError, match="no such option"):
        daemon.wait_until(lambda: False, within=60)


def test_stop_takes_the_children_along(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    daemon = Daemon(["/bin/sh", "-c", f"exec 3>{fifo}; sleep 1000 & echo started; wait"], tmp_path / "log")
    daemon.wait_until(lambda: "started" in (tmp_path / "log").read_text(), within=60)
    daemon.stop()
    daemon.stop()
    # The end of the pipe shows that nobody holds its other side any more.
    assert select.select([reading], [], [], 60)[0] == [reading]
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_no_two_processes_get_the_same_port() -> None:
    ours = {free_port() for _ in range(1000)}  # all that there are, in turns
    command = [sys.executable, "-c", "from demo.neighbours.daemon import free_port; print(free_port())"]
    for _ in range(2):
        theirs = subprocess.run(command, check=True, capture_output=True, text=True)
        assert int(theirs.stdout) not in ours


def test_a_port_at_which_somebody_listens_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        assert listener.getsockname()[1] not in {free_port() for _ in range(1000)}
