"""The arguments of MAIL and RCPT: an address and its ESMTP parameters.

SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY and ORCPT (RFC 3461, RFC 6533). AUTH
(RFC 4954) is checked and forgotten: whoever may talk to us at all is trusted alike. Values keep case and xtext.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from contentfilter import reply
from contentfilter.address import parse_path
from contentfilter.envelope import Recipient
from contentfilter.errors import CommandError
from contentfilter.reply import Reply

# esmtp-keyword ["=" esmtp-value], RFC 5321 section 4.1.2; RFC 6531 section 3.3 lets values be UTF-8.
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x7e\u00a0-\U0010ffff]+))?")
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-Fa-f]{2})*")
_ORCPT = re.compile(rf"[A-Za-z0-9.\-]+;{_XTEXT.pattern}")
_ORCPT_UTF8 = re.compile(r"[Uu][Tt][Ff]-8;(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e\u00a0-\U0010ffff]|\+[0-9A-Fa-f]{2})*")
_SIZE = re.compile(r"[0-9]{1,20}", re.ASCII)

_MAIL_KEYWORDS = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"})
_RCPT_KEYWORDS = frozenset({"NOTIFY", "ORCPT"})
_NOTIFY_KEYWORDS = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})


@dataclass(frozen=True, slots=True)
class Sender:
    """What MAIL said. address "" is the null sender; size in bytes, 0 if not told."""

    address: str
    size: int = 0
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None


def parse_mail(argument: bytes) -> Sender:
    """The argument of MAIL, "FROM:<address> parameters". Raises CommandError."""
    address, given = _address_and_parameters(argument, "FROM:", reply.SYNTAX_MAIL, reply.BAD_SENDER, _MAIL_KEYWORDS)
    body = _one_of(given.get("BODY"), "7BIT", "8BITMIME")
    ret = _one_of(given.get("RET"), "FULL", "HDRS")
    _matching(_XTEXT, given.get("AUTH"))
    envid = _matching(_XTEXT, given.get("ENVID"))
    size = _matching(_SIZE, given.get("SIZE"))
    if given.get("SMTPUTF8"):
        raise CommandError(reply.BAD_PARAMETER)
    return Sender(address, int(size or 0), body, "SMTPUTF8" in given, ret, envid)


def parse_rcpt(argument: bytes) -> Recipient:
    """The argument of RCPT, "TO:<address> parameters". Raises CommandError."""
    address, given = _address_and_parameters(argument, "TO:", reply.SYNTAX_RCPT, reply.BAD_RECIPIENT, _RCPT_KEYWORDS)
    if not address:
        raise CommandError(reply.BAD_RECIPIENT)
    return Recipient(address, _notify(given.get("NOTIFY")), _orcpt(given.get("ORCPT")))


def _address_and_parameters(
    argument: bytes, keyword: str, syntax: Reply, malformed: Reply, known: frozenset[str]
) -> tuple[str, dict[str, str]]:
    if argument[: len(keyword)].upper() != keyword.encode():
        raise CommandError(syntax)
    try:
        text = argument[len(keyword) :].decode().strip(" ")
    except UnicodeDecodeError as error:
        raise CommandError(malformed) from error
    address, rest = parse_path(text, malformed)
    return address, _parameters(rest, known)


def _parameters(text: str, known: frozenset[str]) -> dict[str, str]:
    """Upper-case keyword to value, "" for a keyword that stands alone; only SMTPUTF8 may."""
    given: dict[str, str] = {}
    for word in text.split(" "):
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise CommandError(reply.BAD_PARAMETER)
        keyword, value = match[1].upper(), match[2]
        if keyword not in known:
            raise CommandError(reply.UNKNOWN_PARAMETER)
        if keyword in given:
            raise CommandError(reply.REPEATED_PARAMETER)
        if value is None and keyword != "SMTPUTF8":
            raise CommandError(reply.BAD_PARAMETER)
        given[keyword] = value or ""
    return given


def _one_of(value: str | None, *choices: str) -> str | None:
    if value is None:
        return None
    if value.upper() not in choices:
        raise CommandError(reply.BAD_PARAMETER)
    return value.upper()


def _matching(pattern: re.Pattern[str], value: str | None) -> str | None:
    if value is not None and pattern.fullmatch(value) is None:
        raise CommandError(reply.BAD_PARAMETER)
    return value


def _notify(value: str | None) -> tuple[str, ...]:
    """RFC 3461 section 4.1: NEVER stands alone."""
    if value is None:
        return ()
    words = tuple(dict.fromkeys(value.upper().split(",")))
    if not _NOTIFY_KEYWORDS.issuperset(words) or ("NEVER" in words and len(words) > 1):
        raise CommandError(reply.BAD_PARAMETER)
    return words


def _orcpt(value: str | None) -> str | None:
    if value is None or _ORCPT_UTF8.fullmatch(value):
        return value
    return _matching(_ORCPT, value)
