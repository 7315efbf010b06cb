"""Whether a banned rule matches a content.

A content may have several names, types and places, and whoever sends it chooses them. So they do not count alike: a
deny rule matches if *any* of them is meant, an allow rule only if *all* of them are. What is not known satisfies no
allow rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from contentfilter.inspectors.banned_contents import DEEPEST, ENCRYPTED, One
from contentfilter.inspectors.banned_default import DEFAULT_TYPES
from contentfilter.inspectors.banned_rules import (
    CONTAINER_TYPES,
    PROGRAM_EXTENSIONS,
    PROGRAM_TYPES,
    BannedRule,
    Patterns,
    RuleSet,
    Types,
    minds_places,
    minds_text,
)
from contentfilter.inspectors.file_name import extension
from contentfilter.printable import printable

_SHOWN = 100
"""Characters of a name that go into a finding; of a longer one its end is kept, for that is where the extension is."""

_SAYS_NOTHING = frozenset({"", "application/octet-stream"})
"""What is declared by a mail program that does not know."""

_NO_TEXT = frozenset(DEFAULT_TYPES)

Test = Callable[[One], str]
"""What of a content satisfies a criterion, for people; "" if nothing does."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a set says of a content. what: for people, "" for an allow rule; text: for the recipient."""

    allow: bool
    what: str = ""
    text: str = ""


_ALLOWED = Decision(allow=True)


@dataclass(frozen=True, slots=True)
class Matcher:
    """A set of rules, made ready. tests: each rule with its tests.

    minds_places: whether it matters where else a content lies; minds_text: whether the type of plain text does.
    """

    rules: RuleSet
    tests: tuple[tuple[BannedRule, tuple[Test, ...]], ...]
    minds_places: bool
    minds_text: bool

    @classmethod
    def of(cls, rules: RuleSet) -> Matcher:
        """Make a set ready."""
        return cls(
            rules,
            tuple((rule, _tests_of(rule)) for rule in rules.rules),
            any(map(minds_places, rules.rules)),
            any(minds_text(rule, _NO_TEXT) for rule in rules.rules),
        )

    def decide(self, one: One) -> Decision | None:
        """What the first rule that matches says; None if none does. Raises OverBudgetError, InspectorError."""
        one.contents.spend(len(self.tests))
        for rule, tests in self.tests:
            what = ""
            for test in tests:
                found = test(one)
                if not found:
                    break
                what = what or found
            else:
                return _ALLOWED if rule.allow else self._denied(rule, what)
        return None

    def _denied(self, rule: BannedRule, what: str) -> Decision:
        what = f"{what} ({rule.origin})" if rule.origin else what
        return Decision(allow=False, what=what, text=rule.text or self.rules.text)


def _tests_of(rule: BannedRule) -> tuple[Test, ...]:
    """The criteria of a rule as tests that all have to hold, the cheap ones first."""
    return tuple(_allow_tests(rule) if rule.allow else _deny_tests(rule))


def _deny_tests(rule: BannedRule) -> Iterator[Test]:
    if rule.extensions:
        yield partial(_extension_among, rule.extensions)
    if rule.names:
        yield partial(_name_that_matches, rule.names)
    if rule.declared_types:
        yield partial(_declared, rule.declared_types)
    if rule.signs:
        # With a kind it is a content *with* such signs in it, else the very place where they are.
        yield partial(_sign_within if rule.has_kind else _sign_here, rule.signs)
    if rule.encrypted is not None:
        yield partial(_encrypted, rule.encrypted, deep=rule.has_kind)
    if rule.has_depth:
        yield partial(_some_depth, _depths(rule))
    if rule.has_inside:
        yield partial(_somewhere_inside, partial(_container_is_meant, rule))
    if rule.types:
        yield partial(_type, rule.types)
    if rule.detected_types:
        yield partial(_detected, rule.detected_types)


def _allow_tests(rule: BannedRule) -> Iterator[Test]:
    if rule.extensions:
        yield partial(_only_extensions, rule.extensions)
    if rule.names:
        yield partial(_only_names, rule.names)
    if rule.declared_types:
        yield partial(_declared, rule.declared_types)
    if rule.signs:
        yield partial(_only_signs, rule.signs)
    if rule.encrypted is not None:
        yield partial(_encrypted, rule.encrypted, deep=not rule.encrypted)
    if rule.has_depth:
        yield partial(_only_depths, _depths(rule))
    if rule.has_inside:
        yield partial(_directly_inside, partial(_container_is_surely_meant, rule))
    if rule.types:
        yield partial(_only_types, rule.types)
    if rule.detected_types:
        yield partial(_detected, rule.detected_types)
    if not rule.has_types:
        yield _undisguised


def _extension_among(extensions: frozenset[str], one: One) -> str:
    if one.extensions.isdisjoint(extensions):
        return ""
    return next(f".{end}: {shown(name)}" for name, plain in one.names if (end := extension(plain)) in extensions)


def _name_that_matches(patterns: Patterns, one: One) -> str:
    if not one.names:
        return ""
    one.contents.spend(len(one.names) * len(patterns))
    for name, plain in one.names:
        for pattern, compiled in patterns:
            if compiled.search(plain):
                return f"{shown(pattern)}: {shown(name)}"
    return ""


def _only_extensions(extensions: frozenset[str], one: One) -> str:
    return _yes(one.knows_names and one.extensions <= extensions)


def _only_names(patterns: Patterns, one: One) -> str:
    one.contents.spend(len(one.names) * len(patterns))
    return _yes(
        one.knows_names and all(any(compiled.search(plain) for _, compiled in patterns) for _, plain in one.names)
    )


def _declared(types: Types, one: One) -> str:
    return _named(one.declared, one) if one.declared in types else ""


def _detected(types: Types, one: One) -> str:
    return _named(one.detected, one) if one.detected in types else ""


def _type(types: Types, one: One) -> str:
    return _declared(types, one) or _detected(types, one)


def _only_types(types: Types, one: One) -> str:
    if not one.is_leaf:  # a multipart or an attached message: that it is one has been seen
        return _yes(one.declared in types)
    return _yes((one.declared in _SAYS_NOTHING or one.declared in types) and one.detected in types)


def _undisguised(one: One) -> str:
    """A rule about names is not meant for a program that is called as if it were none."""
    return _yes(one.extensions <= PROGRAM_EXTENSIONS or one.detected not in PROGRAM_TYPES)


def _sign_here(signs: frozenset[str], one: One) -> str:
    if not one.signs:
        return ""
    return next((shown(str(sign)) for sign in one.signs if sign.name in signs), "")


def _sign_within(signs: frozenset[str], one: One) -> str:
    return _named(min(one.marks & signs, default=""), one)


def _only_signs(signs: frozenset[str], one: One) -> str:
    own = one.marks - {ENCRYPTED}
    return _yes(bool(own) and own <= signs)


def _encrypted(wanted: bool, one: One, *, deep: bool) -> str:
    if (ENCRYPTED in one.marks if deep else one.encrypted) != wanted:
        return ""
    return _named("encrypted" if wanted else "not encrypted", one)


def _depths(rule: BannedRule) -> int:
    """A bit for each depth that is meant, the lowest for 0."""
    first = rule.min_depth or 0
    last = DEEPEST if rule.max_depth is None else min(rule.max_depth, DEEPEST)
    return sum(1 << depth for depth in range(first, last + 1))


def _some_depth(depths: int, one: One) -> str:
    return _named("depth", one) if one.depths & depths else ""


def _only_depths(depths: int, one: One) -> str:
    return _yes(not one.depths & ~depths)


def _somewhere_inside(means: Callable[[One], bool], one: One) -> str:
    return _named("inside a container", one) if one.key in one.contents.within(means) else ""


def _directly_inside(means: Callable[[One], bool], one: One) -> str:
    return _yes(one.key in one.contents.directly_in(means))


def _container_is_meant(rule: BannedRule, one: One) -> bool:
    if not one.extensions.isdisjoint(rule.inside_extensions) or one.declared in rule.inside_types:
        return True
    if _name_that_matches(rule.inside_names, one):
        return True
    detected = one.detected_as_container
    own = {CONTAINER_TYPES[each][0] for each in rule.inside_extensions if each in CONTAINER_TYPES}
    return detected in rule.inside_types or detected in own


def _container_is_surely_meant(rule: BannedRule, one: One) -> bool:
    """What it is called has to be what it is: a name alone says only how it is opened here, not by the recipient."""
    detected = one.detected_as_container
    if detected in rule.inside_types:
        return True
    if not one.knows_names or not one.extensions <= rule.inside_extensions:
        return False
    return all(detected in CONTAINER_TYPES.get(each, ()) for each in one.extensions)


def _named(what: str, one: One) -> str:
    return f"{shown(what)}: {shown(one.name)}" if what and one.name else shown(what)


def _yes(holds: bool) -> str:
    return "yes" if holds else ""


def shown(text: str) -> str:
    """A text from a message for people: printable, the middle of a long one left out."""
    half = _SHOWN // 2
    return printable(text if len(text) <= _SHOWN else f"{text[: half - 3]}...{text[-half:]}")
