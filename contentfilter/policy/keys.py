"""The keys under which a recipient's entries may stand, in amavis's order: the most specific first."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from contentfilter.domains import canonical_domain
from contentfilter.envelope import split_address

_DOMAIN = re.compile(r"""[^\s@*?"'<>()\[\],:;/\\.]+(\.[^\s@*?"'<>()\[\],:;/\\.]+)*|\[[0-9A-Za-z.:]+\]""")
_LOCAL_PART = re.compile(r"""[^\s@*"<>()\[\],:;\\]+|"[^\r\n]+\"""")
_LIKE_A_DOMAIN = re.compile(r"(.+)\.[A-Za-z]{2,}")


def lookup_keys(address: str, delimiter: str = "+", *, case_sensitive: bool = False) -> tuple[str, ...]:
    """The keys under which settings for this address may stand, most specific first.

    user+ext@dom, user@dom, user+ext, user, @dom, @.dom, @.parent …, @. - an address without a domain has no @dom.
    delimiter: Postfix's recipient_delimiter, "" for none; case_sensitive: keep the case of local parts.
    """
    return tuple(dict.fromkeys(_lookup_keys(address if case_sensitive else address.lower(), delimiter)))


def _lookup_keys(address: str, delimiter: str) -> Iterator[str]:
    local, domain = split_address(address)
    bare = local
    if delimiter and not local.startswith('"') and delimiter in local[1:]:
        bare = local[: local.index(delimiter, 1)]
    if domain:
        domain = canonical_domain(domain)
        yield f"{local}@{domain}"
        yield f"{bare}@{domain}"
    yield local
    yield bare
    yield from _domain_keys(domain)


@functools.lru_cache(maxsize=1024)
def _domain_keys(domain: str) -> tuple[str, ...]:
    if not domain:
        return ("@.",)
    labels = domain.split(".")
    return (f"@{domain}", *("@." + ".".join(labels[start:]) for start in range(len(labels))), "@.")


def canonical_key(key: str, *, case_sensitive: bool = False) -> str:
    """A key as lookups have it: lower case, domains in ASCII, "user@" as the bare user.

    Raises ValueError, saying what would be right, for what no lookup would ever find.
    """
    local, domain = split_address(key.strip())
    if not local and (domain == "." or _DOMAIN.fullmatch(domain.removeprefix("."))):
        dot = "." if domain.startswith(".") else ""
        return f"@{dot}{canonical_domain(domain.removeprefix('.'))}"
    if not _LOCAL_PART.fullmatch(local) or (domain and not _DOMAIN.fullmatch(domain)):
        raise ValueError(
            'must be default, "user@example.org", "@example.org" for a domain, "@.example.org" for it and all below, '
            'or "user@" for the user of that name in every domain'
        )
    if "@" not in key and _LIKE_A_DOMAIN.fullmatch(key):
        raise ValueError(
            f'looks like a domain without its @: write "@{key}" for the domain, '
            f'or "{key}@" for the user of that name in every domain'
        )
    local = local if case_sensitive else local.lower()
    return f"{local}@{canonical_domain(domain)}" if domain else local


def written_key(key: str) -> str:
    """A canonical key as people write it, which :func:`canonical_key` understands: a bare user is "user@"."""
    return key if split_address(key)[1] else f"{key}@"


def stored_key(text: str, *, case_sensitive: bool = False) -> str:
    """The canonical key for an entry of a database. Raises ValueError that says what would be right."""
    if text.strip() == "default":
        raise ValueError(
            'is [policy.default] of the configuration file: write "@." for everybody, '
            'or "default@" for the user of that name'
        )
    if not text.isprintable():
        raise ValueError("must not have control or format characters, nor bytes that are not UTF-8")
    return canonical_key(text, case_sensitive=case_sensitive)
