"""What holds up the event loop: every stretch of a worker's work that runs for more than 5 ms without a break.

The parts of a worker serve in a process of its own, on asyncio's own loop in the place of uvloop, because the turns of
that one can be timed. A thread looks at the stack of a turn that takes too long; what is seen most often, and for how
long, is printed. Stretches are also given in processor time: on a busy machine a turn may only have been interrupted.

    python -m tests.bench.loop_monitor CONFIGURATION      serves until SIGTERM, then prints JSON
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from contentfilter import assembly, maillog, serving, sockets
from contentfilter.config import Config
from contentfilter.intake.listener import Listener
from contentfilter.intake.service import Service
from demo.neighbours.daemon import ask
from demo.neighbours.filter import Filter
from tests.bench.driver import Plan, drive, saved
from tests.bench.growth import many_parts
from tests.bench.profiles import Letter, Writer, profile
from tests.bench.results import table
from tests.bench.sides import Scanners, filter_settings, staged

LIMIT: Final = 0.005
_LOOK_EVERY: Final = 0.001
_DEPTH: Final = 5
_PLACES: Final = tuple(
    (f"{path}/", short)
    for path, short in (
        (str(Path(__file__).parents[2]), ""),
        (sysconfig.get_path("purelib"), ""),
        (sysconfig.get_path("stdlib"), ""),
    )
)


@dataclass(slots=True)
class Stretch:
    """What was seen at one place. The seconds are sums."""

    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    cpu: float = 0.0
    longest_cpu: float = 0.0


@dataclass(slots=True)
class Monitor:
    """Times the turns of the loop of the thread that it is made in."""

    found: dict[str, Stretch] = field(default_factory=lambda: defaultdict(Stretch))
    turns: int = 0
    ended: bool = False
    """Whether what comes now is the end of the process, where nobody waits."""
    _thread: int = field(default_factory=threading.get_ident)
    _began: tuple[int, float] | None = None
    _seen: Counter[str] = field(default_factory=Counter)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _collection: float = 0.0

    def start(self) -> None:
        """From now on."""
        sys.setswitchinterval(_LOOK_EVERY / 2)
        run = asyncio.events.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            self._seen.clear()
            began, cpu = time.perf_counter(), time.thread_time()
            self._began = (next(self._numbers), began)
            try:
                run(handle)
            finally:
                self._began = None
                taken = time.perf_counter() - began
                self.turns += 1
                if taken > LIMIT and not self.ended:
                    self._note(taken, time.thread_time() - cpu, handle)

        asyncio.events.Handle._run = timed  # type: ignore[method-assign, assignment]
        gc.callbacks.append(self._collected)
        threading.Thread(target=self._look, daemon=True).start()

    def _note(self, taken: float, cpu: float, handle: asyncio.Handle) -> None:
        seen = self._seen.most_common(1)
        stretch = self.found[seen[0][0] if seen else f"not seen, in {handle!r}"[:200]]
        stretch.count += 1
        stretch.seconds += taken
        stretch.cpu += cpu
        stretch.longest = max(stretch.longest, taken)
        stretch.longest_cpu = max(stretch.longest_cpu, cpu)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        """The garbage collector began or ended, in whatever thread."""
        if phase == "start":
            self._collection = time.perf_counter()
        elif (taken := time.perf_counter() - self._collection) > LIMIT:
            stretch = self.found[f"garbage collection, generation {info['generation']}"]
            stretch.count += 1
            stretch.seconds += taken
            stretch.longest = max(stretch.longest, taken)

    def _look(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY)
            began = self._began
            if began is not None and time.perf_counter() - began[1] > LIMIT:
                frame = sys._current_frames().get(self._thread)
                stack = _stack(frame)
                if self._began == began:  # still the same turn
                    self._seen[stack] += 1


def _stack(frame: FrameType | None) -> str:
    """The innermost calls, those of the loop itself left out."""
    calls: list[str] = []
    while frame is not None and len(calls) < _DEPTH and frame.f_code.co_name != "timed":
        name = frame.f_code.co_filename
        for path, short in _PLACES:
            name = name.replace(path, short)
        calls.append(f"{name}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(calls)


async def _serve(config: Config, monitor: Monitor) -> None:
    """As a worker does it, with the loop watched."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    routes, box = assembly.routes_for(config), assembly.box_for(config)
    await box.start()
    pipeline = assembly.pipeline_for(config, routes, box, assembly.history_for(config))
    listener = Listener(Service(pipeline.handle, pipeline.admit), assembly.intake_settings(config))
    [address] = config.listen.addresses
    gc.collect()
    gc.freeze()
    monitor.start()
    serving = asyncio.create_task(listener.serve(sockets.bind(address, 0o600), address))
    await stop.wait()
    monitor.ended = True
    await listener.drain(30.0)
    await serving
    await pipeline.close()
    await box.close()
    await routes.close()


def main() -> None:
    """Serve with the configuration whose name is given, then say what was found."""
    config = serving.loaded(Path(sys.argv[1]))
    maillog.set_up("stderr", "info", config.log.syslog_address)
    monitor = Monitor()
    asyncio.run(_serve(config, monitor))
    json.dump({"turns": monitor.turns, "found": {k: asdict(v) for k, v in monitor.found.items()}}, sys.stdout)


# What the bench does.


def _kinds() -> dict[str, tuple[Callable[[], tuple[Letter, ...]], int]]:
    """Messages by title, and how many are sent at once."""
    writer = Writer(6)
    text = profile("text").letters[0].content
    return {
        "text, 3 kB": (lambda: profile("text").letters, 10),
        "HTML and PDF, 60 kB": (lambda: profile("document").letters, 10),
        "the mix": (lambda: profile("mix").letters, 10),
        "attachment, 10 MB": (lambda: profile("large").letters, 4),
        "attachment, 99 MB": (lambda: (Letter(writer.blob(99_000_000)),), 2),
        "text, 5 MB": (lambda: (Letter(writer.plain(5_000_000)),), 2),
        "HTML, 1 MB": (lambda: (Letter(writer.mixed(writer.page(1_000_000))),), 2),
        "zip of texts, 3 MB": (lambda: (Letter(writer.mixed(writer.archive(9_000_000))),), 2),
        "2,990 parts": (lambda: (Letter(many_parts(writer, 2_990)),), 2),
        "1,000 recipients": (lambda: (Letter(text, 1_000),), 2),
    }


def measure(directory: Path, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Each kind of message for a few seconds, with ClamAV; the mix with SpamAssassin as well, which is slow."""
    found: dict[str, dict[str, Any]] = {}
    seconds = 1.0 if quick else 2.0
    kinds = _kinds()
    with_spamd = {"the mix, both scanners": kinds["the mix"]}
    for scanners, asked in ((Scanners.CLAMD, kinds), (Scanners.BOTH, with_spamd)):
        with staged(scanners, directory / f"monitor-{scanners.name}", ()) as stage:
            for title, (letters, sessions) in asked.items():
                number = len(found)
                files = tuple(
                    saved(letter, directory / f"monitored-{number}-{place}") for place, letter in enumerate(letters())
                )
                home = Filter(directory / f"home-{number}", next_hop_port=stage.sink)
                (home.directory / "state").mkdir(parents=True)
                home.configure(filter_settings(stage, 1))
                found[title] = _watched(home, files, sessions, seconds)
                worst = max((each["longest"] for each in found[title]["found"].values()), default=0.0)
                tell(f"{title}: {len(found[title]['found'])} places, the longest {1000 * worst:.0f} ms")
    return {"found": found, "markdown": _markdown(found)}


def _watched(home: Filter, files: tuple[tuple[str, int], ...], sessions: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.loop_monitor", str(home.configuration)]
    with home.log.open("w") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            while not _greets(home.port):
                if process.poll() is not None:
                    raise RuntimeError(f"it did not start: {home.log.read_text()[-2000:]}")
                time.sleep(0.05)
            result = drive(Plan(files, home.port, sessions=sessions, seconds=seconds))
        finally:
            process.terminate()
        output, _ = process.communicate()
    values: dict[str, Any] = json.loads(output)
    return values | {"messages": len(result.latencies), "failed": len(result.failed)}


def _greets(port: int) -> bool:
    try:
        return ask(("127.0.0.1", port), b"QUIT\r\n").startswith(b"220 ")
    except OSError:
        return False


def _markdown(found: dict[str, dict[str, Any]]) -> str:
    rows = []
    for title, one in found.items():
        for stack, stretch in sorted(one["found"].items(), key=lambda item: -item[1]["seconds"])[:6]:
            longest = f"{1000 * stretch['longest']:.0f} ({1000 * stretch['longest_cpu']:.0f})"
            average = f"{1000 * stretch['seconds'] / stretch['count']:.0f}"
            share = f"{stretch['count']} of {one['messages']}"
            rows.append([title, share, average, longest, f"`{stack}`"])
    header = ["messages", "times", "ms on the average", "longest, ms (processor)", "where"]
    return f"## What holds up the event loop for more than 5 ms\n\n{table(header, rows)}"


if __name__ == "__main__":
    main()
