"""SpamAssassin's X-Spam-Status field: which tests hit, with which scores, and what it learned. Pure.

As SpamAssassin writes it with our snippet (``conf/spamassassin/``), folded:

    X-Spam-Status: Yes, score=6.3 required=5.0 tests=BAYES_99=3.5,
        MISSING_DATE=2.8 autolearn=no autolearn_force=no

Without the snippet the tests have no scores; amavis and others put the list in brackets and a space after the comma.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from contentfilter.finding import Test

_FIELD = re.compile(rb"^X-Spam-Status:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", re.MULTILINE | re.IGNORECASE)
_SCORE = re.compile(r"\bscore=([-+]?[0-9.]{1,32})")
_TESTS = re.compile(r"\btests=\[?([\w.=+-]+(?:[ \t]*,[ \t]*[\w.=+-]+)*)", re.ASCII)
_AUTOLEARN = re.compile(r"\bautolearn=([a-z]{1,16})\b")


@dataclass(frozen=True, slots=True)
class SpamStatus:
    """What the field says. score is None if it gives none."""

    score: float | None = None
    tests: tuple[Test, ...] = ()
    autolearn: str = "no"


def parse_spam_status(header: bytes) -> SpamStatus:
    """From a message header, its first X-Spam-Status; an empty status if there is none."""
    field = _FIELD.search(header)
    if field is None:
        return SpamStatus()
    text = " ".join(field[1].decode("ascii", "replace").split())
    score, tests, autolearn = _SCORE.search(text), _TESTS.search(text), _AUTOLEARN.search(text)
    return SpamStatus(
        score=_number(score[1]) if score else None,
        tests=_tests(tests[1]) if tests else (),
        autolearn=autolearn[1] if autolearn else "no",
    )


def _tests(text: str) -> tuple[Test, ...]:
    """Tests from a list like "A=1.5, B"; the word "none" stands for no tests."""
    if text == "none":
        return ()
    entries = (entry.strip().partition("=") for entry in text.split(","))
    return tuple(Test(name, _number(score)) for name, _, score in entries if name)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
