"""What stands behind a pattern: an action and its text, in the words of header_checks(5), checked when it is loaded."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from contentfilter.address import is_mailbox
from contentfilter.finding import RuleAction
from contentfilter.marks import OURS
from contentfilter.rules.template import EMPTY, Template, TemplateError, parse_template

_WORDS = MappingProxyType({action.value: action for action in RuleAction} | {"OK": RuleAction.DUNNO})
_ELSEWHERE = MappingProxyType({
    "FILTER": 'a recipient\'s next hop is the policy key next_hop; "REDIRECT user@domain" changes the recipient',
    "STRIP": "write IGNORE, which removes the field; each hit is logged",
    "PASS": "whoever sends could write such a line; write DUNNO for this line, or use a bypass in the policy",
    "PERMIT": "that is a word of access(5); write DUNNO",
    "DEFER": "that is a word of access(5); write REJECT 4.7.1 and a text",
    "DEFER_IF_PERMIT": "that is a word of access(5); write REJECT 4.7.1 and a text",
    "ERROR": "that is a word of access(5); write REJECT and a text",
})  # fmt: skip

# RFC 3463 section 2: class "." subject "." detail.
_STATUS = re.compile(r"(\d\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_SMTP_CODE = re.compile(r"[2-5]\d\d(?:\s|$)")
_DEFAULT_STATUS = "5.7.1"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FIELD = re.compile(r"([!-9;-~]+):[ \t]*(.*)", re.DOTALL)
_TEST_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_NAME = 100
_HIGHEST_SCORE = 1000.0


class OrderError(ValueError):
    """What is wrong with an action and what would be right."""


@dataclass(frozen=True, slots=True)
class Order:
    """An action and what belongs to it.

    status: the enhanced status code of a REJECT; field: name of the header field of PREPEND and REPLACE, whose text is
    the value; score: points of a SCORE, whose text is the name of the test.
    """

    action: RuleAction
    text: Template = EMPTY
    status: str = ""
    field: str = ""
    score: float = 0.0


def parse_order(text: str, groups: int, *, positive: bool, may_edit: bool) -> Order:
    """The action that a line asks for.

    groups: how many the pattern has; positive: False for a line that begins with "!"; may_edit: whether the table sees
    the message's own header. Raises OrderError.
    """
    word, _, rest = text.replace("\t", " ").partition(" ")
    action = _action(word)
    rest = rest.strip()
    if _CONTROL.search(rest):
        raise OrderError("the text holds a control character, which no reply, log or header may hold")
    if action.edits and not may_edit:
        raise OrderError(
            f"{action.value} works in header_checks only: of a message nothing but its own header is changed, the body "
            "passes byte for byte, so that signatures over it hold"
        )
    order = _CHECKS[action](Order(action), rest)
    _check_groups(order.text, groups, positive=positive)
    return order


def _action(word: str) -> RuleAction:
    upper = word.upper()
    if upper in _WORDS:
        return _WORDS[upper]
    if upper in _ELSEWHERE:
        raise OrderError(f"{upper} is not supported: {_ELSEWHERE[upper]}")
    if not word:
        raise OrderError(f"no action behind the pattern: one of {', '.join(_WORDS)}")
    if _SMTP_CODE.match(word):
        raise OrderError(
            f"{word[:20]!r} is no action: write REJECT 5.7.1 and a text (REJECT 4.7.1 to have it tried again)"
        )
    nearest = difflib.get_close_matches(upper[:20], _WORDS, 1, 0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"one of {', '.join(_WORDS)}"
    raise OrderError(f"unknown action {word[:20]!r}: {hint}")


def _template(text: str) -> Template:
    try:
        return parse_template(text)
    except TemplateError as error:
        raise OrderError(str(error)) from error


def _check_groups(text: Template, groups: int, *, positive: bool) -> None:
    if text.highest and not positive:
        raise OrderError(f"${text.highest} has no meaning behind !/pattern/, which hits where nothing was matched")
    if text.highest > groups:
        raise OrderError(f"${text.highest} is out of range: the pattern has {groups} pairs of parentheses that capture")


def _with_text(order: Order, rest: str) -> Order:
    return replace(order, text=_template(rest))


def _without_text(order: Order, rest: str) -> Order:
    if rest and order.action is not RuleAction.DUNNO:
        raise OrderError(f"{order.action.value} takes no text; a comment begins a line of its own")
    return order


def _reject(order: Order, rest: str) -> Order:
    if _SMTP_CODE.match(rest):
        raise OrderError(f"REJECT takes an enhanced status code such as 5.7.1, not the SMTP code {rest[:3]}")
    status = _STATUS.match(rest)
    if status is None:
        return replace(order, status=_DEFAULT_STATUS, text=_template(rest))
    if status[1][0] not in "45":
        raise OrderError(f"REJECT takes a status of 5.x.x (refused) or 4.x.x (to be tried again), not {status[1]}")
    return replace(order, status=status[1], text=_template(rest[status.end() :]))


def _address(order: Order, rest: str) -> Order:
    if "$" in rest.replace("$$", ""):
        raise OrderError(
            f"{order.action.value} takes an address as it stands: who gets mail must not be up to its sender"
        )
    address = rest.replace("$$", "$")
    bare = address[1:-1] if address.startswith("<") and address.endswith(">") else address
    if not is_mailbox(bare):
        raise OrderError(f"{order.action.value} takes an address, user@domain, not {bare[:60]!r}")
    return replace(order, text=Template((bare,)))


def _field(order: Order, rest: str) -> Order:
    template = _template(rest)
    match = _FIELD.fullmatch(template.literal)
    if match is None:
        raise OrderError(f"{order.action.value} takes a header field, Name: value, not {rest[:60]!r}")
    if match[1].lower() in OURS:
        raise OrderError(
            f"{match[1]} says what this filter has done, so no rule writes it; SCORE adds to the spam score"
        )
    pieces = (match[2], *template.pieces[1:]) if match[2] else template.pieces[1:]
    return replace(order, field=match[1], text=Template(pieces))


def _score(order: Order, rest: str) -> Order:
    words = rest.split()
    if len(words) != 2:
        raise OrderError(f"SCORE takes a number and the name of a test, SCORE 2.5 MY_TEST, not {rest[:60]!r}")
    try:
        score = float(words[0])
    except ValueError:
        score = math.nan
    if not math.isfinite(score) or abs(score) > _HIGHEST_SCORE or "_" in words[0]:
        raise OrderError(f"SCORE takes a number from -1000 to 1000 first, not {words[0][:20]!r}")
    if not _TEST_NAME.fullmatch(words[1]) or len(words[1]) > _LONGEST_NAME:
        raise OrderError(f"the name of a test is of A-Z, 0-9 and _, as in SpamAssassin, not {words[1][:40]!r}")
    return replace(order, text=Template((words[1],)), score=score)


_CHECKS: MappingProxyType[RuleAction, Callable[[Order, str], Order]] = MappingProxyType({
    RuleAction.REJECT: _reject,
    RuleAction.DISCARD: _with_text,
    RuleAction.HOLD: _with_text,
    RuleAction.WARN: _with_text,
    RuleAction.INFO: _with_text,
    RuleAction.IGNORE: _without_text,
    RuleAction.DUNNO: _without_text,
    RuleAction.PREPEND: _field,
    RuleAction.REPLACE: _field,
    RuleAction.REDIRECT: _address,
    RuleAction.BCC: _address,
    RuleAction.SCORE: _score,
})  # fmt: skip


def texts_of(groups: Sequence[bytes]) -> tuple[str, ...]:
    """Groups of UTF-8 as text."""
    return tuple(group.decode("utf-8", "replace") for group in groups)
