"""The keys under which amavis looks for an address in its SQL tables (its README.lookups), most specific first."""

from __future__ import annotations

import re
from collections.abc import Iterator

from contentfilter.envelope import split_address

_MOST_DOMAINS = 20
"""amavis asks for so many domains of an address at most, the shortest ones."""
_NEVER_SPLIT = frozenset({"postmaster", "mailer-daemon", "double-bounce"})


def amavis_keys(address: str, delimiter: str = "+", *, local: bool = True) -> tuple[str, ...]:
    """user+ext@dom, user@dom, user+ext, user, @dom, @.dom, @.parent ..., @. - as they stand in users and mailaddr.

    address: canonical, as lookup_keys begins with; "" for the null sender. local: whether the user's name alone is a
    key as well. Local parts have no quotes in these tables.
    """
    return tuple(dict.fromkeys(_keys(address, delimiter, local=local)))


def _keys(address: str, delimiter: str, *, local: bool) -> Iterator[str]:
    user, domain = split_address(address)
    user = _unquoted(user)
    bare = _without_extension(user, delimiter)
    # Without a domain only a quoted local part can have an @ in it, and then another one ends it.
    yield f"{user}@{domain}" if domain or "@" in user else user
    yield f"{user}@{domain}"
    yield f"{bare}@{domain}"
    if local:
        yield user
        yield bare
    yield f"@{domain}"
    if "[" not in domain:
        labels = domain.split(".") if domain else []
        for start in range(max(0, len(labels) - _MOST_DOMAINS + 1), len(labels)):
            yield "@." + ".".join(labels[start:])
    yield "@."


def _unquoted(user: str) -> str:
    if len(user) > 1 and user.startswith('"') and user.endswith('"'):
        return re.sub(r"\\(.)", r"\1", user[1:-1], flags=re.DOTALL)
    return user


def _without_extension(user: str, delimiter: str) -> str:
    if not delimiter or user.lower() in _NEVER_SPLIT or delimiter not in user[1:]:
        return user
    lowered = user.lower()
    if delimiter == "-" and ((lowered.startswith("owner-") and len(user) > 6) or _is_request(lowered)):
        return user
    return user[: user.index(delimiter, 1)]


def _is_request(user: str) -> bool:
    return user.endswith("-request") and len(user) > len("-request")
