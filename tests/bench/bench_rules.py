"""How fast local rules are: 1,000 body rules over 100 kB of text, and what they take of memory.

Run it from the top of the repository: `python -m tests.bench.bench_rules`. The limit is 10 ms for a message after the
first few; the first one is slower, since RE2 builds its automata as it needs them. The rules are of ten forms that are
common in body_checks, of words that do occur in the texts; the texts are all different. Short words are in nearly
every block of a text, so that the filter lets more rules through. "Each rule" is what the same rules take one after the
other over the whole text; "hostile" is a text of 2 MB in long lines that hold the words of most rules each.
"""

from __future__ import annotations

import itertools
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from contentfilter.mime import parse as parse_message
from contentfilter.rules import RuleSet, TableKind, match, parse

RULES = 1000
SIZE = 100_000
LIMIT = 10.0
MESSAGES = 30

_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "or")]


def _words(chance: random.Random, shortest: int) -> list[str]:
    """Words of so many syllables or more, each of two or three letters."""
    return ["".join(chance.choices(_SYLLABLES, k=chance.randint(shortest, shortest + 3))) for _ in range(8000)]


def rules(chance: random.Random, words: list[str]) -> str:
    """A table of rules."""
    forms: tuple[Callable[..., str], ...] = (
        lambda a, b, c: rf"{a} {b}",
        lambda a, b, c: rf"\b{a}\s+{b}\b",
        lambda a, b, c: rf"^{a}.*{b}",
        lambda a, b, c: rf"(?:{a}|{b}|{c}) {a}",
        lambda a, b, c: rf"https?:\/\/[^\/ ]*{a}\.(?:com|net|ru)\/",
        lambda a, b, c: rf"{a}[0-9]{{3,6}}{b}",
        lambda a, b, c: rf"{a}.{{0,20}}{b}$",
        lambda a, b, c: rf"^>? ?{a}-{b}: ",
        lambda a, b, c: rf'<a href="[^"]*{a}',
        lambda a, b, c: rf"{a}{b}{c}",
    )
    patterns = (form(*chance.choices(words, k=3)) for form in itertools.cycle(forms))
    return "\n".join(
        f"/{pattern}/ SCORE 1 RULE_{number}" for number, pattern in zip(range(RULES), patterns, strict=False)
    )


def text(chance: random.Random, words: list[str]) -> str:
    """Text whose words are as unevenly frequent as those of a language."""
    weights = [1 / (rank + 1) for rank in range(len(words))]
    lines = (" ".join(chance.choices(words, weights, k=11)) for _ in range(SIZE // 30))
    return "\r\n".join(lines)[:SIZE]


def _resident() -> float:
    """Megabytes, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def measure(shortest: int) -> float:
    """Print the figures for words of so many syllables or more; milliseconds for a message."""
    chance = random.Random(4)
    words = _words(chance, shortest)
    source = rules(chance, words)
    trees = [parse_message(b"\r\n" + text(chance, words).encode()) for _ in range(MESSAGES)]

    before = _resident()
    start = time.perf_counter()
    table = parse(source, "body_checks", TableKind.BODY_CHECKS)
    loading = time.perf_counter() - start
    loaded = _resident()
    tables = RuleSet((table,))

    times = [_milliseconds(lambda tree=tree: match(tables, tree)) for tree in trees]  # type: ignore[misc]
    after = _resident()
    hits = sum(len(match(tables, tree).hits) for tree in trees)
    whole = trees[-1].root.content()
    alone = _milliseconds(lambda: [rule.pattern.search(whole) for rule in table.rules])
    hostile = "\n".join(" ".join(chance.sample(words, len(words)))[:60_000] for _ in range(34)).encode()
    worst = _milliseconds(lambda: list(table.hits(hostile)))

    usual = statistics.median(times[5:])
    print(
        f"words of {2 * shortest} letters or more: {RULES} rules, {SIZE} characters, {MESSAGES} messages, {hits} hits"
    )
    print(f"  load    {1000 * loading:7.1f} ms, {loaded - before:.1f} MB")
    print(f"  match   {usual:7.1f} ms median, {max(times[5:]):.1f} ms at most, {times[0]:.1f} ms the first")
    more, most = after - loaded, _resident() - after
    print(f"  memory  {more:7.1f} MB more after {MESSAGES} messages, {most:.1f} MB more after hostile text")
    print(f"  alone   {alone:7.1f} ms, each rule over the whole text")
    print(f"  hostile {worst:7.1f} ms for {len(hostile) / 1e6:.1f} MB")
    return usual


def main() -> int:
    """Print the figures; 1 if the limit is exceeded."""
    return int(max(measure(2), measure(1)) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
