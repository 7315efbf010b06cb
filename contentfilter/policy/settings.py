"""One recipient's settings: every key that `[policy.*]` knows, its meaning and its default, once."""

from __future__ import annotations

import math
import unicodedata
from enum import Enum
from typing import Annotated, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from contentfilter.verdict import Action, Category

_NOT_IN_A_FIELD = {"Cc", "Zl", "Zp"}
"""Unicode's categories of control characters, line and paragraph separators."""


def enum_by_value(kind: type[Enum]) -> BeforeValidator:
    """Let a strict model take the value of an enum ("discard") where TOML can only write text."""

    def convert(value: object) -> object:
        for member in kind:
            if value == member.value:
                return member
        words = " | ".join(f'"{member.value}"' for member in kind)
        if isinstance(value, kind):
            return value
        raise ValueError(f"must be one of {words}")

    return BeforeValidator(convert)


def _no_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("must be a number, inf or -inf, not nan")
    return value


def _no_control_characters(value: str) -> str:
    # A line end would end the field, and what follows would be a field of its own, or the body.
    if any(unicodedata.category(character) in _NOT_IN_A_FIELD for character in value):
        raise ValueError("must not have control characters or line ends")
    return value


ActionKey = Annotated[Action, enum_by_value(Action)]
Level = Annotated[float, AfterValidator(_no_nan)]
FieldText = Annotated[str, AfterValidator(_no_control_characters)]


class Policy(BaseModel):
    """Settings that apply to a recipient after lookup. A table that sets some keys leaves the others to later ones."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    tag_level: Level = Field(default=2.0, description="X-Spam fields from this score on; -inf: always")
    tag2_level: Level = Field(default=6.2, description="X-Spam-Flag: YES and the subject tag from this score on")
    kill_level: Level = Field(default=6.9, description="spam_action from this score on; inf: never")
    quarantine_cutoff_level: Level = Field(
        default=float("inf"), description="no quarantine copy of spam from this score on"
    )
    spam_subject_tag2: FieldText = Field(
        default="", description="put before the Subject from tag2_level on; empty: no tag"
    )
    spam_user: str = Field(default="", description="whose SpamAssassin preferences apply; empty: [spamassassin] user")

    virus_action: ActionKey = Field(default=Action.DISCARD, description="what to do with a virus")
    banned_action: ActionKey = Field(default=Action.DISCARD, description="what to do with a banned attachment")
    unchecked_action: ActionKey = Field(
        default=Action.DISCARD, description="what to do with content that cannot be inspected"
    )
    spam_action: ActionKey = Field(default=Action.DISCARD, description="what to do from kill_level on")
    bad_header_action: ActionKey = Field(default=Action.PASS, description="what to do with a malformed header")
    oversized_action: ActionKey = Field(
        default=Action.REJECT, description="what to do with a message over message_size_limit"
    )

    virus_quarantine: bool = Field(default=True, description="keep a copy of a virus")
    banned_quarantine: bool = Field(default=True, description="keep a copy of a message with a banned attachment")
    unchecked_quarantine: bool = Field(default=True, description="keep a copy of what cannot be inspected")
    spam_quarantine: bool = Field(default=True, description="keep a copy of spam, from kill_level on")
    bad_header_quarantine: bool = Field(default=False, description="keep a copy of a message with a malformed header")
    oversized_quarantine: bool = Field(default=False, description="keep a copy of a message over message_size_limit")

    bypass_virus_checks: bool = Field(default=False, description="do not scan for viruses")
    bypass_banned_checks: bool = Field(default=False, description="do not look for banned attachments")
    bypass_spam_checks: bool = Field(default=False, description="do not score")
    bypass_header_checks: bool = Field(default=False, description="do not test the header")

    message_size_limit: int = Field(default=0, ge=0, description="bytes; 0: only [limits] message_size applies")

    def action(self, category: Category) -> Action:
        """What to do with a message of this category. Clean and spammy mail passes."""
        return cast(Action, getattr(self, f"{category.word}_action", Action.PASS))

    def wants_copy(self, category: Category) -> bool:
        """Whether a message of this category is kept in quarantine."""
        return bool(getattr(self, f"{category.word}_quarantine", False))
