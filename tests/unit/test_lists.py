"""Whom a list entry means, and which of several decides."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.envelope import Envelope
from contentfilter.policy.lists import Effect, ListEntry, Subjects, canonical_subject, deciding
from contentfilter.policy.settings import Policy
from tests.policies import effective_of, policies_of


@pytest.mark.parametrize(
    ("mail_from", "addr", "signed_by", "subjects"),
    [
        ("Al+x@S.Ex.com", None, [], "al+x@s.ex.com al@s.ex.com al+x@ al@ @s.ex.com @.s.ex.com @.ex.com @.com @."),
        ("", None, [], "<> @."),
        ("al@x.com", None, ["y.com", "X.com"], "al@x.com al@ @x.com @.x.com @.com dkim:x.com dkim:y.com @."),
        ("root", "not an address", [], "root@ @."),
    ],
)
def test_subjects_the_most_specific_first(
    mail_from: str, addr: str | None, signed_by: list[str], subjects: str
) -> None:
    assert " ".join(Subjects(mail_from, addr, signed_by)) == subjects


@pytest.mark.parametrize(
    ("addr", "first", "also"),
    [
        ("192.0.2.77", "192.0.2.77/32", "192.0.2.0/24"),
        ("IPv6:2001:db8::1", "2001:db8::1/128", "2001:db8::/32"),
        ("2001:DB8::1", "2001:db8::1/128", "::/0"),
        ("::ffff:192.0.2.77", "192.0.2.77/32", "192.0.0.0/8"),
    ],
)
def test_networks_the_narrowest_first(addr: str, first: str, also: str) -> None:
    _, *networks, last = Subjects("", addr)
    assert last == "@."
    assert networks[0] == first
    assert also in networks or also == "192.0.0.0/8"
    assert all(ipaddress.ip_network(one) for one in networks)
    assert len(networks) == (33 if "." in first else 129)


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_client_is_in_the_networks_that_have_it(ip: Any, length: int) -> None:
    network = ipaddress.ip_network(f"{ip}/{min(length, ip.max_prefixlen)}", strict=False)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return
    assert canonical_subject(str(network)) in Subjects("", str(ip))


@pytest.mark.parametrize(
    ("given_as", "canonical"),
    [
        ("Alice@Example.COM", "alice@example.com"),
        ("@Example.com", "@example.com"),
        ("@.Example.com", "@.example.com"),
        ("@.", "@."),
        ("alice@", "alice@"),
        ("<>", "<>"),
        ("192.0.2.9/24", "192.0.2.0/24"),
        ("192.0.2.9", "192.0.2.9/32"),
        ("2001:DB8::9/32", "2001:db8::/32"),
        ("dkim:Example.com", "dkim:example.com"),
        ("@bücher.example", "@xn--bcher-kva.example"),
        ('"a b"@example.com', '"a b"@example.com'),
    ],
)
def test_subjects_in_one_form(given_as: str, canonical: str) -> None:
    assert canonical_subject(given_as) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "example.com", "alice", "@", "@@x", "@*.com", "*@example.com", "192.0.2.0/33", "dkim:", "dkim:a b", "a@b c"],
)
def test_what_would_never_be_found_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r'must be a sender such as "alice@example\.com"'):
        canonical_subject(text)


def entry(owner: str, subject: str, effect: Effect, expires: float | None = None) -> ListEntry:
    return ListEntry("test", owner, subject, effect, expires=expires)


def test_what_has_expired_does_not_decide() -> None:
    first, second = entry("@.", "a@", Effect.DENY, 100.0), entry("@.", "@.", Effect.ALLOW)
    assert deciding([first, second], 99.9) == first
    assert deciding([first, second], 100.0) == second
    assert deciding([first], 100.0) is None


@pytest.mark.parametrize(
    ("address", "decides"),
    [
        ("bob@x.example", "allow @y.example, listed for bob@x.example in test"),
        ("al@x.example", "deny sender@y.example, listed for @x.example in test"),
        ("al@z.example", "deny @., listed for @. in test"),
    ],
)
async def test_the_most_specific_owner_decides_then_the_most_specific_subject(address: str, decides: str) -> None:
    listed = [
        entry("@.", "@.", Effect.DENY),
        entry("@x.example", "@y.example", Effect.ALLOW),
        entry("@x.example", "sender@y.example", Effect.DENY),
        entry("bob@x.example", "@y.example", Effect.ALLOW),
    ]
    lookup = policies_of(Policy(), listed=listed)
    effective = await effective_of(lookup, address, Envelope("sender@y.example", ()))
    assert str(effective.listing) == decides
