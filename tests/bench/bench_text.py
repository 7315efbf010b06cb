"""How fast a part becomes text: 60 kB of HTML, ordinary and hostile.

Run it from the top of the repository: `python -m tests.bench.bench_text`. html.parser of the standard library, which
only collects the text, is there to compare with; absolute figures drift with the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser

from contentfilter.html_text import html_text

ROW = (
    '<tr><td class="c" style="font-size:14px;color:#333"><p>Sehr geehrte Damen &amp; Herren, {0} caf&eacute; '
    '<a href="https://example.org/{0}?a=1&amp;b=2">mehr davon</a></p></td></tr>\n'
)
BODIES = {
    "newsletter": "<html><head><style>p{color:red}</style></head><body><table>"
    + "".join(ROW.format(number) for number in range(340))
    + "</table></body></html>",
    "prose": "<p>" + "Ein Satz mit <b>fetten</b> Worten und noch mehr davon.<br>\n" * 1050,
    "deep": "<div>" * 12_000,
    "attributes": "<a " + "".join(f"a{number}=1 " for number in range(7000)) + ">",
    "no end": "<a " * 20_000,
}


class _Collector(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(source)

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def best(work: Callable[[], object], rounds: int = 20) -> float:
    """Milliseconds of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    """Print a line for each body."""
    for name, source in BODIES.items():
        ours, theirs = best(partial(html_text, source)), best(partial(_Collector, source))
        print(f"{name:10} {len(source):6} bytes: text {ours:6.2f} ms, html.parser {theirs:6.2f} ms")


if __name__ == "__main__":
    main()
