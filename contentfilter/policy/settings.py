"""One recipient's settings: every key that `[policy.*]` knows, its meaning and its default, once.

The keys are amavis's where amavis has them, without the `_maps` of its Perl and the `Y`/`N` of its SQL.
"""

from __future__ import annotations

import math
import re
import unicodedata
from enum import Enum
from typing import Annotated, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from contentfilter import endpoint
from contentfilter.envelope import split_address
from contentfilter.verdict import Action, Category

_NOT_IN_A_FIELD = {"Cc", "Zl", "Zp"}
"""Unicode's categories of control characters, line and paragraph separators."""

_EXTENSION = re.compile(r"[A-Za-z0-9!#$%&'*/=?^_`{|}~.-]{0,63}")
_RULE_SET = re.compile(r"[A-Za-z0-9_-]{1,64}")


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
    if any(unicodedata.category(character) == "Cs" for character in value):
        raise ValueError("must be UTF-8")  # a field of half a character could not be written
    return value


def _extension(value: str) -> str:
    if not _EXTENSION.fullmatch(value):
        raise ValueError('must be what stands behind the delimiter, such as "spam", without blanks, quotes and the +')
    return value


def _admin(value: str) -> str:
    local, domain = split_address(_no_control_characters(value))
    if value and (not local or not domain or " " in value):
        raise ValueError(f'must be an address such as "virusalert@example.org", or empty, not {value!r}')
    return value


def _next_hop(value: str) -> str:
    if value:
        endpoint.Endpoint.parse(value)
    return value


def _rule_set(value: str) -> str:
    if not _RULE_SET.fullmatch(value):
        raise ValueError(f"must be the name of a set, of letters, digits, - and _, not {value!r}")
    return value


def as_tuple(value: object) -> object:
    """A list of TOML as a frozen model holds it."""
    return tuple(value) if isinstance(value, list) else value


class Local(Enum):
    """Whether a recipient is one of ours."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


def _local(value: object) -> object:
    if isinstance(value, bool):
        return Local.YES if value else Local.NO
    return value


ActionKey = Annotated[Action, enum_by_value(Action)]
LocalKey = Annotated[Local, enum_by_value(Local), BeforeValidator(_local)]
Level = Annotated[float, AfterValidator(_no_nan)]
FieldText = Annotated[str, AfterValidator(_no_control_characters)]
Extension = Annotated[str, AfterValidator(_extension)]
AdminAddress = Annotated[str, AfterValidator(_admin)]
NextHopAddress = Annotated[str, AfterValidator(_next_hop)]
RuleSetName = Annotated[str, AfterValidator(_rule_set)]
RuleSets = Annotated[tuple[RuleSetName, ...], BeforeValidator(as_tuple)]


class Policy(BaseModel):
    """Settings that apply to a recipient after lookup. A table that sets some keys leaves the others to later ones."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    local: LocalKey = Field(
        default=Local.AUTO,
        description="whether X-Spam fields, subject tags and extensions are added; auto: as [domains] local says",
    )

    tag_level: Level = Field(default=2.0, description="X-Spam fields from this score on; -inf: always")
    tag2_level: Level = Field(default=6.2, description="X-Spam-Flag: YES and the subject tag from this score on")
    tag3_level: Level = Field(
        default=float("inf"), description="blatant spam: its own subject tag from this score on, if it passes"
    )
    kill_level: Level = Field(default=6.9, description="spam_action from this score on; inf: never")
    dsn_cutoff_level: Level = Field(
        default=float("inf"),
        description="from this score on reject means discard: Postfix writes no bounce to a forged sender",
    )
    quarantine_cutoff_level: Level = Field(
        default=float("inf"), description="no quarantine copy of spam from this score on"
    )
    spam_subject_tag: FieldText = Field(
        default="", description="put before the Subject from tag_level on; empty: no tag"
    )
    spam_subject_tag2: FieldText = Field(
        default="", description="put before the Subject from tag2_level on; empty: no tag"
    )
    spam_subject_tag3: FieldText = Field(
        default="", description="put before the Subject from tag3_level on; empty: spam_subject_tag2"
    )
    spam_user: FieldText = Field(
        default="", description="by whose preferences spamd and Rspamd score; empty: [spamassassin] user"
    )

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

    virus_lover: bool = Field(default=False, description="pass a virus all the same, marked")
    banned_lover: bool = Field(default=False, description="pass a banned attachment all the same, marked")
    unchecked_lover: bool = Field(default=False, description="pass what cannot be inspected all the same, marked")
    spam_lover: bool = Field(default=False, description="pass spam all the same, marked")
    bad_header_lover: bool = Field(default=False, description="pass a malformed header all the same, marked")

    bypass_virus_checks: bool = Field(default=False, description="do not scan for viruses")
    bypass_banned_checks: bool = Field(default=False, description="do not look for banned attachments")
    bypass_unchecked_checks: bool = Field(default=False, description="do not mind what cannot be inspected")
    bypass_spam_checks: bool = Field(default=False, description="do not score")
    bypass_header_checks: bool = Field(default=False, description="do not test the header")
    bypass_rule_checks: bool = Field(default=False, description="do not apply local rules")

    virus_quarantine: bool = Field(default=True, description="keep a copy of a virus")
    banned_quarantine: bool = Field(default=True, description="keep a copy of a message with a banned attachment")
    unchecked_quarantine: bool = Field(default=True, description="keep a copy of what cannot be inspected")
    spam_quarantine: bool = Field(default=True, description="keep a copy of spam, from kill_level on")
    spammy_quarantine: bool = Field(default=False, description="keep a copy of mail from tag2_level on")
    bad_header_quarantine: bool = Field(default=False, description="keep a copy of a message with a malformed header")
    oversized_quarantine: bool = Field(default=False, description="keep a copy of a message over message_size_limit")
    clean_quarantine: bool = Field(default=False, description="keep a copy of clean mail")

    addr_extension_virus: Extension = Field(
        default="", description="bob@ gets a virus that passes as bob+this@; empty: as bob@"
    )
    addr_extension_banned: Extension = Field(default="", description="the same for a banned attachment")
    addr_extension_unchecked: Extension = Field(default="", description="the same for what cannot be inspected")
    addr_extension_spam: Extension = Field(default="", description="the same for spam, from tag2_level on")
    addr_extension_bad_header: Extension = Field(default="", description="the same for a malformed header")

    warn_virus_recipient: bool = Field(default=False, description="tell the recipient of a virus withheld")
    warn_banned_recipient: bool = Field(default=False, description="tell the recipient of a banned attachment withheld")
    warn_unchecked_recipient: bool = Field(
        default=True, description="tell the recipient of a message withheld because it cannot be inspected"
    )
    warn_spam_recipient: bool = Field(default=False, description="tell the recipient of each spam withheld")
    warn_bad_header_recipient: bool = Field(default=False, description="tell the recipient of a malformed header")

    virus_admin: AdminAddress = Field(default="", description="who is told of a virus; empty: nobody")
    banned_admin: AdminAddress = Field(default="", description="who is told of a banned attachment")
    unchecked_admin: AdminAddress = Field(default="", description="who is told of what cannot be inspected")
    spam_admin: AdminAddress = Field(default="", description="who is told of spam from kill_level on")
    bad_header_admin: AdminAddress = Field(default="", description="who is told of a malformed header")

    banned_rules: RuleSets = Field(
        default=("default",), description="names of sets in [banned.set.*], asked in this order; an empty list: none"
    )
    next_hop: NextHopAddress = Field(
        default="", description="host:port or unix:/path of the recipient's next hop; empty: [next_hop] address"
    )
    message_size_limit: int = Field(default=0, ge=0, description="bytes; 0: only [limits] message_size applies")
    shadow: bool = Field(
        default=False, description="pass everything unmarked and log what would have been done; to try a configuration"
    )

    def action(self, category: Category) -> Action:
        """What to do with a message of this category. Clean and spammy mail passes, and what its recipient loves."""
        if self._named(f"{category.word}_lover", default=False):
            return Action.PASS
        return cast(Action, self._named(f"{category.word}_action", Action.PASS))

    def wants_copy(self, category: Category) -> bool:
        """Whether a message of this category is kept in quarantine."""
        return bool(self._named(f"{category.word}_quarantine", default=False))

    def extension(self, category: Category) -> str:
        """What is added to the address of a message of this category that passes; "" for nothing."""
        word = "spam" if category is Category.SPAMMY else category.word
        return str(self._named(f"addr_extension_{word}", ""))

    def warns(self, category: Category) -> bool:
        """Whether the recipient is told that a message of this category was withheld."""
        return bool(self._named(f"warn_{category.word}_recipient", default=False))

    def admin(self, category: Category) -> str:
        """Who is told of a message of this category; "" for nobody."""
        return str(self._named(f"{category.word}_admin", ""))

    def _named(self, key: str, default: object) -> object:
        """The value of a key, if there is one of this name: not each category has each of them."""
        # Of an attribute that is not there pydantic takes its time to say so.
        return self.__dict__.get(key, default)
