"""Rspamd's answer to /checkv2, and what it comes to on SpamAssassin's scale. Pure.

An answer without a score or an action is none: whoever gives it has not said "no spam". Of the answer count score,
action and symbols; header changes that Rspamd proposes (milter) are left alone, for our own policy decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test

NAME: Final = "rspamd"
MOST_SYMBOLS: Final = 200
"""Symbols that are kept, those with the largest scores."""

Meaning = float | Literal["defer", "ignore"]
"""What an action means here: a least score, in SpamAssassin points; that the message waits; or nothing."""

_LONGEST_NAME: Final = 80
_LARGEST: Final = 1e6
_Points = Annotated[FiniteFloat, Field(ge=-_LARGEST, le=_LARGEST)]
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]")


class AnswerError(ValueError):
    """An answer that is none. The text says why."""


class _Symbol(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    score: _Points


class _Reply(BaseModel):
    """What has to stand in the JSON, and of which types; what else there is does not matter."""

    model_config = ConfigDict(strict=True, frozen=True)

    score: _Points
    action: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]
    symbols: Mapping[str, _Symbol] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What Rspamd said, in its own points. symbols: each with its score, the largest first."""

    score: float
    action: str
    symbols: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: bytes) -> Answer:
        """Out of the body of a reply. Raises AnswerError."""
        try:
            reply = _Reply.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "it"
            raise AnswerError(f"not an answer: {place[:100]}: {first['msg'][:100]}") from None
        found = sorted(reply.symbols.items(), key=lambda one: -abs(one[1].score))[:MOST_SYMBOLS]
        return cls(reply.score, reply.action, tuple((_safe(name), one.score) for name, one in found))


def reason(text: bytes) -> str:
    """What a reply with an error code says, "" for nothing that could be understood."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return told["error"][:200] if isinstance(told, dict) and isinstance(told.get("error"), str) else ""


@dataclass(frozen=True, slots=True)
class Scale:
    """How answers are translated.

    factor: what a point of Rspamd's is worth in SpamAssassin's; actions: the meaning of each, of others their score
    alone counts; adds: whether the score is added to that of other scanners, see :class:`Finding`.
    """

    factor: float = 1.0
    actions: Mapping[str, Meaning] = field(default_factory=dict)
    adds: bool = False

    def findings(self, answer: Answer, user: str) -> tuple[Finding, ...]:
        """The score, always; and where the action means so that the message has to wait."""
        points = _rounded(answer.score * self.factor)
        tests = [Test(name, _rounded(score * self.factor)) for name, score in answer.symbols]
        meaning = self.actions.get(answer.action, "ignore")
        if isinstance(meaning, float) and meaning > points:
            tests.append(Test(_test_of(answer.action), _rounded(meaning - points)))
            points = meaning
        spam = Finding(Kind.SPAM, NAME, "spam score", score=points, tests=tuple(tests), user=user, adds=self.adds)
        if meaning != "defer":
            return (spam,)
        hit = RuleHit(RuleAction.REJECT, NAME, status="4.7.1", matched=answer.action)
        return spam, Finding(Kind.RULE, NAME, answer.action, user=user, rule=hit)


def _safe(name: str) -> str:
    """Part of a header field and of a list, so it must not end either."""
    return _UNSAFE_IN_NAME.sub("_", name[:_LONGEST_NAME]) or "_"


def _test_of(action: str) -> str:
    """The test that stands for what an action adds: RSPAMD_ADD_HEADER."""
    return f"RSPAMD_{_UNSAFE_IN_NAME.sub('_', action).upper()}"


def _rounded(points: float) -> float:
    return round(points, 3) + 0.0  # no -0.0
