"""Which entry applies to whom."""

from __future__ import annotations

import ipaddress

import pytest
from pydantic import ValidationError

from contentfilter.domains import LocalDomains
from contentfilter.envelope import Client, Envelope, Recipient, split_address
from contentfilter.policy.banks import Bank
from contentfilter.policy.keys import canonical_key, lookup_keys
from contentfilter.policy.lookup import Policies
from contentfilter.policy.settings import Policy
from contentfilter.policy.toml import TomlSource
from contentfilter.verdict import Action
from tests.policies import effective_of, entry, toml


@pytest.mark.parametrize(
    ("address", "keys"),
    [
        (
            "Bob+Lists@Sub.Example.ORG",
            (
                "bob+lists@sub.example.org bob@sub.example.org bob+lists bob"
                " @sub.example.org @.sub.example.org @.example.org @.org @."
            ),
        ),
        ("bob@example.org", "bob@example.org bob @example.org @.example.org @.org @."),
        ("postmaster", "postmaster @."),
        ("a+b+c@x.org", "a+b+c@x.org a@x.org a+b+c a @x.org @.x.org @.org @."),
        ("+x@example.org", "+x@example.org +x @example.org @.example.org @.org @."),
        ('"a+b@c"@example.org', '"a+b@c"@example.org "a+b@c" @example.org @.example.org @.org @.'),
        ('"a b@c"', '"a b@c" @.'),
        ("bob@[192.0.2.1]", "bob@[192.0.2.1] bob @[192.0.2.1] @.[192.0.2.1] @.0.2.1] @.2.1] @.1] @."),
        (
            "jürgen@bücher.example",
            "jürgen@xn--bcher-kva.example jürgen @xn--bcher-kva.example @.xn--bcher-kva.example @.example @.",
        ),
    ],
)
def test_lookup_keys_in_amavis_order(address: str, keys: str) -> None:
    expected = keys.split(" ") if '"' not in address else None
    got = lookup_keys(address)
    assert " ".join(got) == keys
    assert expected is None or list(got) == expected


def test_without_a_delimiter_the_plus_is_part_of_the_name() -> None:
    assert lookup_keys("a+b@x.org", "") == ("a+b@x.org", "a+b", "@x.org", "@.x.org", "@.org", "@.")


async def test_per_key_the_most_specific_entry_wins() -> None:
    source = toml(
        {
            "Bob@example.org": Policy(kill_level=3.0),
            "bob": Policy(kill_level=99.0, tag_level=-1.0),
            "@example.org": Policy(tag_level=0.0, tag2_level=4.0),
            "@.": Policy(tag2_level=1.0, spam_subject_tag2="[S] "),
        }
    )
    policies = Policies(entry("default", Policy(kill_level=8.0, quarantine_cutoff_level=20.0)), [source])
    bob = (await effective_of(policies, "bob+lists@EXAMPLE.org")).policy
    assert (bob.kill_level, bob.tag_level, bob.tag2_level) == (3.0, -1.0, 4.0)
    assert (bob.spam_subject_tag2, bob.quarantine_cutoff_level) == ("[S] ", 20.0)
    assert bob.virus_action == Policy().virus_action
    alice = (await effective_of(policies, "alice@elsewhere.example")).policy
    assert (alice.kill_level, alice.tag2_level) == (8.0, 1.0)


async def test_equal_settings_are_equal_policies() -> None:
    """Recipients are grouped by what was decided, so equal settings from different entries must compare equal."""
    source = toml({"a@x.org": Policy(kill_level=3.0), "b@x.org": Policy(kill_level=3.0)})
    policies = Policies(entry("default", Policy()), [source])
    assert (await effective_of(policies, "a@x.org")).policy == (await effective_of(policies, "b@x.org")).policy
    assert hash((await effective_of(policies, "a@x.org")).policy) == hash(
        (await effective_of(policies, "b@x.org")).policy
    )


async def test_entries_that_set_different_keys_to_their_defaults_are_not_taken_for_each_other() -> None:
    """As policies they are equal; what they set is not."""
    source = toml({"a@x.org": Policy(banned_action=Action.DISCARD), "b@x.org": Policy(spam_action=Action.DISCARD)})
    policies = Policies(entry("default", Policy(banned_action=Action.PASS, spam_action=Action.PASS)), [source])
    a, b = (await effective_of(policies, "a@x.org")).policy, (await effective_of(policies, "b@x.org")).policy
    assert (a.banned_action, a.spam_action) == (Action.DISCARD, Action.PASS)
    assert (b.banned_action, b.spam_action) == (Action.PASS, Action.DISCARD)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("bob@example.org", ("bob", "example.org")),
        ('"a@b"@example.org', ('"a@b"', "example.org")),
        ('"a@b"', ('"a@b"', "")),
        ("bob", ("bob", "")),
        ("", ("", "")),
    ],
)
def test_split_address(address: str, parts: tuple[str, str]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    ("patterns", "address", "local"),
    [
        (["example.org"], "bob@Example.ORG", True),
        (["example.org"], "bob@sub.example.org", False),
        ([".example.org"], "bob@sub.sub.example.org", True),
        ([".example.org"], "bob@example.org", True),
        ([".example.org"], "bob@notexample.org", False),
        ([], "bob@example.org", False),
        ([], "bob", True),
        (["."], "anybody@anywhere.example", True),
        (["example.org"], '"x@example.org"@evil.example', False),
    ],
)
def test_local_domains(patterns: list[str], address: str, local: bool) -> None:
    assert LocalDomains(patterns).has(address) is local


async def test_what_has_expired_is_as_if_it_were_not_there() -> None:
    source = TomlSource(
        [
            entry("bob@x.org", Policy(kill_level=1.0), expires=100.0),
            entry("@x.org", Policy(kill_level=2.0), expires=200.0),
        ]
    )
    for now, level in ((99.0, 1.0), (100.0, 2.0), (200.0, 6.9)):
        policies = Policies(entry("default", Policy()), [source], clock=lambda now=now: now)  # type: ignore[misc]
        assert (await effective_of(policies, "bob@x.org")).policy.kill_level == level


async def test_each_value_has_an_origin() -> None:
    first = toml({"bob@x.org": Policy(kill_level=1.0)})
    second = TomlSource([entry("bob@x.org", Policy(kill_level=2.0, tag_level=0.5), source="other.toml")])
    policies = Policies(entry("default", Policy(tag2_level=5.0)), [first, second])
    bob = await effective_of(policies, "bob@x.org")
    assert (bob.policy.kill_level, bob.policy.tag_level, bob.policy.tag2_level) == (1.0, 0.5, 5.0)
    origins = [bob.origin(key) for key in ("kill_level", "tag_level", "tag2_level", "virus_action")]
    assert [str(one) if one else None for one in origins] == [
        "bob@x.org in test",
        "bob@x.org in other.toml",
        "default in test",
        None,
    ]


async def test_recipients_alike_share_their_settings() -> None:
    policies = Policies(entry("default", Policy()), [toml({"@x.org": Policy(kill_level=1.0)})])
    recipients = tuple(Recipient(address) for address in ("a@x.org", "b@x.org", "c@y.org", "d@y.org"))
    a, b, c, d = await policies.of_all(Envelope("", recipients))
    assert a is b
    assert c is d
    assert a.policy != c.policy


def test_local_parts_with_case() -> None:
    assert lookup_keys("Bob@X.org", case_sensitive=True)[:2] == ("Bob@x.org", "Bob")
    assert canonical_key("Bob@X.org", case_sensitive=True) == "Bob@x.org"


@pytest.mark.parametrize(
    ("key", "canonical"),
    [
        ("Bob@X.org", "bob@x.org"),
        ("bob@", "bob"),
        ("first.last@", "first.last"),
        ("@X.org", "@x.org"),
        ("@.X.org", "@.x.org"),
        ("@.", "@."),
        ("@bücher.example", "@xn--bcher-kva.example"),
        ('"a b"@x.org', '"a b"@x.org'),
        ("o'brien@x.org", "o'brien@x.org"),
        ("50%_off@x.org", "50%_off@x.org"),
    ],
)
def test_keys_in_one_form(key: str, canonical: str) -> None:
    assert canonical_key(key) == canonical
    assert key in ("@.", "@.X.org") or canonical in lookup_keys(
        key.replace("@", "@x.org") if key.endswith("@") else key
    )


@pytest.mark.parametrize("key", ["", "@", "@*", "*@x.org", "a b@x.org", "a@b@c", "x.org", "a@x..org", "a@.x.org"])
def test_keys_that_no_lookup_would_find(key: str) -> None:
    with pytest.raises(ValueError, match=r"must be default|looks like a domain"):
        canonical_key(key)


def client(**values: str) -> Envelope:
    return Envelope("al@y.example", (), client=Client(**values))


OURS = (ipaddress.ip_network("192.0.2.0/24"),)


@pytest.mark.parametrize(
    ("bank", "envelope", "means"),
    [
        (Bank("b", (), listeners=("a", "b")), Envelope("", (), listener="b"), True),
        (Bank("b", (), listeners=("a",)), Envelope("", (), listener="b"), False),
        (Bank("b", (), networks=OURS), client(addr="192.0.2.9"), True),
        (Bank("b", (), networks=OURS), client(addr="::ffff:192.0.2.9"), True),
        (Bank("b", (), networks=OURS), client(addr="192.0.3.9"), False),
        (Bank("b", (), networks=OURS), client(addr="[UNAVAILABLE]"), False),
        (Bank("b", (), networks=OURS), client(), False),
        (Bank("b", (), networks=OURS), client(source="LOCAL"), False),
        (Bank("b", (), networks=OURS, local_source=True), client(source="LOCAL", addr="203.0.113.1"), True),
        (Bank("b", (), networks=OURS, local_source=True), client(source="REMOTE", addr="192.0.2.1"), True),
        (Bank("b", (), local_source=True), client(source="REMOTE", addr="192.0.2.1"), False),
        (Bank("b", (), senders=LocalDomains(["y.example"])), client(), True),
        (Bank("b", (), senders=LocalDomains([".example"])), client(), True),
        (Bank("b", (), senders=LocalDomains(["z.example"])), client(), False),
        (Bank("b", (), senders=LocalDomains(["."])), Envelope("", ()), False),
        # Of different kinds of condition all have to hold.
        (Bank("b", (), networks=OURS, senders=LocalDomains(["z.example"])), client(addr="192.0.2.9"), False),
    ],
)
def test_which_message_a_bank_means(bank: Bank, envelope: Envelope, means: bool) -> None:
    assert bank.means(envelope) is means


async def test_a_later_bank_wins() -> None:
    banks = [
        Bank(name, (("kill_level", level),), senders=LocalDomains(["."]))
        for name, level in (("one", 1.0), ("two", 2.0))
    ]
    policies = Policies(entry("default", Policy()), [toml({"b@x.org": Policy(kill_level=9.0)})], banks=banks)
    effective = await effective_of(policies, "b@x.org", Envelope("a@y.example", ()))
    assert effective.policy.kill_level == 2.0
    assert str(effective.origin("kill_level")) == "two in bank"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"addr_extension_spam": "a+b"}, "must be what stands behind the delimiter"),
        ({"addr_extension_spam": "a b"}, "must be what stands behind the delimiter"),
        ({"virus_admin": "nobody"}, "must be an address"),
        ({"virus_admin": "a@b\r\nBcc: c@d"}, "must not have control characters"),
        ({"next_hop": "smtp:[127.0.0.1]:10026"}, 'must be "host:port"'),
        ({"banned_rules": ["a b"]}, "must be the name of a set"),
        ({"local": "perhaps"}, 'must be one of "auto" | "yes" | "no"'),
        ({"spam_subject_tag3": "x\ny"}, "must not have control characters"),
        ({"spam_subject_tag3": "x\udcff"}, "must be UTF-8"),
        ({"virus_admin": "a\udcff@b.example"}, "must be UTF-8"),
        ({"dsn_cutoff_level": float("nan")}, "must be a number"),
    ],
)
def test_bad_values_say_what_would_be_right(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Policy.model_validate(settings)
