"""Which entry applies to whom."""

from __future__ import annotations

import pytest

from contentfilter.domains import LocalDomains
from contentfilter.envelope import split_address
from contentfilter.policy.keys import lookup_keys
from contentfilter.policy.lookup import Policies
from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action
from tests.policies import entry, toml


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
    bob = (await policies.of("bob+lists@EXAMPLE.org")).policy
    assert (bob.kill_level, bob.tag_level, bob.tag2_level) == (3.0, -1.0, 4.0)
    assert (bob.spam_subject_tag2, bob.quarantine_cutoff_level) == ("[S] ", 20.0)
    assert bob.virus_action == Policy().virus_action
    alice = (await policies.of("alice@elsewhere.example")).policy
    assert (alice.kill_level, alice.tag2_level) == (8.0, 1.0)


async def test_equal_settings_are_equal_policies() -> None:
    """Recipients are grouped by what was decided, so equal settings from different entries must compare equal."""
    source = toml({"a@x.org": Policy(kill_level=3.0), "b@x.org": Policy(kill_level=3.0)})
    policies = Policies(entry("default", Policy()), [source])
    assert (await policies.of("a@x.org")).policy == (await policies.of("b@x.org")).policy
    assert hash((await policies.of("a@x.org")).policy) == hash((await policies.of("b@x.org")).policy)


async def test_entries_that_set_different_keys_to_their_defaults_are_not_taken_for_each_other() -> None:
    """As policies they are equal; what they set is not."""
    source = toml({"a@x.org": Policy(banned_action=Action.DISCARD), "b@x.org": Policy(spam_action=Action.DISCARD)})
    policies = Policies(entry("default", Policy(banned_action=Action.PASS, spam_action=Action.PASS)), [source])
    a, b = (await policies.of("a@x.org")).policy, (await policies.of("b@x.org")).policy
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
