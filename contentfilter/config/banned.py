"""The table `[banned]` and the named sets of rules in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    model_validator,
)

from contentfilter.config.values import (
    Table,
)
from contentfilter.inspectors.banned_default import (
    DEFAULT,
    DEFAULT_EXTENSIONS,
    DEFAULT_NAMES,
    DEFAULT_SIGNS,
    DEFAULT_TYPES,
    BannedSettings,
    default_set,
)
from contentfilter.inspectors.banned_rules import (
    CONTAINER_TYPES,
    BannedRule,
    RuleSet,
    Types,
    compile_patterns,
    extensions_of,
)
from contentfilter.policy.settings import FieldText, RuleSetName, as_tuple, enum_by_value
from contentfilter.unpack.sign_names import NAMES, UNEXAMINED


def _pattern(value: str) -> str:
    compile_patterns([value])
    return value


def _media_type(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$&^_.+-]{1,127}/(?:[A-Za-z0-9!#$&^_.+-]{1,127}|\*)", value):
        raise ValueError(f'must be a media type such as "application/zip" or "audio/*", not {value!r}')
    return value.lower()


def _file_extension(value: str) -> str:
    if not value.strip(".") or re.search(r"[/\\*\s]", value):
        raise ValueError(f'must be the end of a file name such as "exe", not {value!r}')
    return value


def _container(value: str) -> str:
    return _media_type(value) if "/" in value else _file_extension(value)


def _sign(value: str) -> str:
    value = value.lower()
    known = sorted(set(NAMES) - {UNEXAMINED})  # which is a content that is unchecked, not a sign that is reported
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        raise ValueError(f"there is no active content called {value!r}; {hint}")
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(as_tuple)]
MediaTypes = Annotated[tuple[Annotated[str, AfterValidator(_media_type)], ...], BeforeValidator(as_tuple)]
Extensions = Annotated[tuple[Annotated[str, AfterValidator(_file_extension)], ...], BeforeValidator(as_tuple)]
Containers = Annotated[tuple[Annotated[str, AfterValidator(_container)], ...], BeforeValidator(as_tuple)]
Signs = Annotated[tuple[Annotated[str, AfterValidator(_sign)], ...], BeforeValidator(as_tuple)]
RecipientText = Annotated[FieldText, Field(max_length=400)]


class RuleAction(Enum):
    """What a banned rule says."""

    ALLOW = "allow"
    DENY = "deny"


class BannedRuleTable(Table):
    """One rule of a set. All that is given has to hold; of a list, one."""

    action: Annotated[RuleAction, enum_by_value(RuleAction)] = Field(
        description="what the first rule that matches an attachment says of it"
    )
    names: Annotated[Patterns, Field(min_length=1)] = Field(default=(), description="RE2 patterns for file names")
    extensions: Annotated[Extensions, Field(min_length=1)] = Field(default=(), description="endings of file names")
    types: Annotated[MediaTypes, Field(min_length=1)] = Field(default=(), description="declared or detected types")
    declared_types: Annotated[MediaTypes, Field(min_length=1)] = Field(default=(), description="declared types")
    detected_types: Annotated[MediaTypes, Field(min_length=1)] = Field(default=(), description="detected types")
    min_depth: int | None = Field(
        default=None, ge=0, le=60, description="containers and attached messages that it lies in, at least"
    )
    max_depth: int | None = Field(default=None, ge=0, le=60, description="the same, at most")
    inside: Annotated[Containers, Field(min_length=1)] = Field(
        default=(), description="endings and types of containers and attached messages"
    )
    inside_names: Annotated[Patterns, Field(min_length=1)] = Field(
        default=(), description="RE2 patterns for their names; for deny"
    )
    encrypted: bool | None = Field(default=None, description="whether it cannot be seen without a password")
    signs: Annotated[Signs, Field(min_length=1)] = Field(default=(), description="active content, by its names")
    text: RecipientText = Field(default="", description="what the recipient is told; empty: the text of the set")

    @model_validator(mode="after")
    def _is_a_rule(self) -> BannedRuleTable:
        if not self.rule("").has_criteria:
            given = sorted(set(type(self).model_fields) - {"action", "text"})
            raise ValueError(f"must say what it is about, by one of {', '.join(given)}")
        if self.min_depth is not None and self.max_depth is not None and self.min_depth > self.max_depth:
            raise ValueError("no content matches: min_depth is greater than max_depth")
        if self.action is RuleAction.ALLOW:
            self._check_allow()
        return self

    def _check_allow(self) -> None:
        if self.text:
            raise ValueError("text is for deny: who is allowed something is told nothing")
        if self.inside_names:
            raise ValueError("inside_names is for deny: a name does not make a container; use inside")
        for each in extensions_of(value for value in self.inside if "/" not in value):
            if each not in CONTAINER_TYPES:
                raise ValueError(
                    f"inside: cannot tell whether a content is what {each!r} says, which allow asks for; "
                    f"give a media type, or one of {', '.join(sorted(CONTAINER_TYPES))}"
                )

    def rule(self, origin: str) -> BannedRule:
        """The rule. origin: where it stands, for people."""
        return BannedRule(
            allow=self.action is RuleAction.ALLOW,
            names=compile_patterns(self.names),
            extensions=extensions_of(self.extensions),
            types=Types.of(self.types),
            declared_types=Types.of(self.declared_types),
            detected_types=Types.of(self.detected_types),
            min_depth=self.min_depth,
            max_depth=self.max_depth,
            inside_extensions=extensions_of(each for each in self.inside if "/" not in each),
            inside_types=Types.of(each for each in self.inside if "/" in each),
            inside_names=compile_patterns(self.inside_names),
            encrypted=self.encrypted,
            signs=frozenset(self.signs),
            text=self.text,
            origin=origin,
        )


class BannedSetTable(Table):
    """`[banned.set.…]`: rules of which the first that matches decides."""

    text: RecipientText = Field(default="", description="what the recipient is told; empty: the usual")
    rules: Annotated[tuple[BannedRuleTable, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=500)] = (
        Field(description="asked in this order")
    )


class Banned(Table):
    """Attachments that are not accepted: what is in these lists is the set of rules called default."""

    extensions: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        default=DEFAULT_EXTENSIONS, description="endings of file names, without the dot"
    )
    names: Patterns = Field(
        default=DEFAULT_NAMES, description="RE2 patterns searched for in file names, without regard to case"
    )
    types: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        default=DEFAULT_TYPES, description="declared or detected types"
    )
    signs: Signs = Field(
        default=DEFAULT_SIGNS, description="active content, by the names that contentfilter check shows"
    )
    set: Mapping[RuleSetName, BannedSetTable] = Field(default={}, description="further sets of rules, by name")

    @model_validator(mode="after")
    def _one_default(self) -> Banned:
        both = self.model_fields_set.intersection(LISTS_OF_BANNED)
        if DEFAULT in self.set and both:
            raise ValueError(
                f"{min(both)} and [banned.set.{DEFAULT}] are two ways to say what the set {DEFAULT} is: keep one"
            )
        return self

    @property
    def sets(self) -> Iterator[RuleSet]:
        """All sets of rules."""
        if DEFAULT not in self.set:
            yield default_set(BannedSettings(self.extensions, self.names, self.types, self.signs))
        for name, table in self.set.items():
            rules = (rule.rule(f"{name}, rule {number}") for number, rule in enumerate(table.rules, 1))
            yield RuleSet(name, tuple(rules), table.text)


LISTS_OF_BANNED = ("extensions", "names", "types", "signs")
