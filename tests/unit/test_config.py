"""A configuration is read strictly, and what is wrong with it is said in one line."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from contentfilter import assembly, config
from contentfilter.cli import cli
from contentfilter.errors import ConfigError
from contentfilter.inspectors.backends import Resting
from contentfilter.inspectors.clamd import ClamdInspector
from contentfilter.inspectors.rspamd import RspamdInspector
from contentfilter.inspectors.spamd import SpamdInspector
from contentfilter.intake.settings import IntakeSettings
from contentfilter.next_hop import NextHopSettings
from contentfilter.policy.entry import merged
from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action
from tests.policies import effective_of

REFERENCE = Path(__file__).parents[2] / "conf" / "contentfilter.toml"


def test_an_empty_file_is_a_configuration() -> None:
    got = config.parse("", "empty")
    assert got.listen.addresses == ("127.0.0.1:10025",)
    assert got.quarantine.directory == Path("/var/lib/contentfilter/quarantine")
    assert got.quarantine.database == "sqlite:////var/lib/contentfilter/quarantine/index.sqlite"
    assert got.hostname
    assert got.workers >= 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1", "x: unknown key; known here: "),
        ('[listen]\nadresses = ["a"]', "[listen] adresses: unknown key; did you mean addresses?"),
        ('[listen]\naddresses = ["a"]', '[listen] addresses: must be "host:port" or "unix:/path", not \'a\''),
        ('[listen]\naddresses = ["unix:run/x"]', "[listen] addresses: must be an absolute path"),
        ("[listen]\naddresses = []", "[listen] addresses: must not be empty"),
        ('[listen]\nallow = ["10.0.0.1/8"]', "[listen] allow: must be a network such as"),
        ('[listen]\nunix_mode = "rw"', "[listen] unix_mode: string should match pattern"),
        ("listen = 3", "listen: must be a table"),
        ('[domains]\nlocal = "x"', '[domains] local: must be a list such as ["a", "b"], not \'x\''),
        ('[domains]\nlocal = ["bob@x.org"]', "[domains] local: must be a domain such as"),
        (
            '[clamav]\non_failure = "ignore"',
            '[clamav] on_failure: must be one of "defer" | "quarantine" | "tag" | "pass"',
        ),
        ('[clamav]\nsocket = "/run/clamd"', '[clamav] socket: must be "unix:/path" or "tcp:host:port"'),
        (
            '[clamav]\nsocket = ["unix:/a", "/b"]',
            '[clamav] socket: must be "unix:/path" or "tcp:host:port", not \'/b\'',
        ),
        ("[clamav]\nsocket = 3", '[clamav] socket: must be an address such as "tcp:127.0.0.1:783", or a list of them'),
        ("[spamassassin]\naddress = []", "[spamassassin] address: must not be empty"),
        (
            '[spamassassin]\naddress = ["unix:/a", "unix:/a"]',
            "[spamassassin] address: must name each address once, not unix:/a, unix:/a",
        ),
        ("[clamav]\nfailures_to_rest = 0", "[clamav] failures_to_rest: "),
        ("[clamav]\ncache = -1", "[clamav] cache: "),
        ("[clamav]\nenabled = 1", "[clamav] enabled: must be true or false"),
        ('workers = "3"', "workers: must be a whole number, not '3'"),
        ('hostname = "a b"', "hostname: string should match pattern"),
        ("[limits]\nmessage_size = 0", "[limits] message_size: input should be greater than 0, not 0"),
        ('[policy."a@b"]\nkil_level = 3', '[policy."a@b"] kil_level: unknown key; did you mean kill_level?'),
        ('[policy.default]\nkill_level = "x"', "[policy.default] kill_level: must be a number, not 'x'"),
        ("[policy.default]\nkill_level = nan", "[policy.default] kill_level: must be a number, inf or -inf"),
        ('[policy.default]\nvirus_action = "bounce"', "[policy.default] virus_action: must be one of"),
        (
            '[policy.default]\nspam_subject_tag2 = "*\\r\\nBcc: <x@y.example>"',
            "[policy.default] spam_subject_tag2: must not have control characters or line ends",
        ),
        ('[policy."a@b"]\nspam_subject_tag2 = "\\u0000"', '[policy."a@b"] spam_subject_tag2: must not have control'),
        ('[policy."a@b"]\nspam_subject_tag2 = "\\u2028"', '[policy."a@b"] spam_subject_tag2: must not have control'),
        ('[quarantine]\ndatabase = "/var/lib/x.sqlite"', "[quarantine] database: must be a URL such as"),
        ('[quarantine]\ndatabase = "postgresql://h:port/x"', "[quarantine] database: must be a URL such as"),
        ('[policy]\n"a@b" = 3', "[policy] a@b: must be a table"),
        ('[banned]\nnames = ["(?=x)"]', "[banned] names: "),
        ('[header]\ntests = ["9bit"]', '[header] tests: must be one of "mime" | '),
        ("[clamav", "is not TOML: "),
        (
            '[listen]\naddresses = ["127.0.0.1:1", "127.0.0.1:1"]',
            '[listen] addresses: "127.0.0.1:1" stands here more than once',
        ),
        (
            '[next_hop]\naddress = "127.0.0.1:10025"',
            '[next_hop] address: "127.0.0.1:10025" is one of [listen] addresses, so mail would go in circles',
        ),
        (
            '[bank.b]\nlisteners = ["127.0.0.1:10025", "127.0.0.1:1"]\npolicy = { kill_level = 1 }',
            '[bank.b] listeners: "127.0.0.1:1" is none of [listen] addresses: 127.0.0.1:10025',
        ),
        (
            "[limits]\nmessage_size = 100\nspool_held = 99",
            "[limits] spool_held: 99 is less than one message may have: must be at least message_size, 100",
        ),
        (
            "[policy.default]\nexpires = 2030-12-31",
            "[policy.default] expires: the default has no end: put what has one",
        ),
    ],
)
def test_one_line_names_file_table_and_key(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "/etc/cf.toml")
    assert str(caught.value).startswith(f"/etc/cf.toml: {complaint}")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file"):
        config.load(tmp_path / "missing.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(byte 0\)"):
        config.load(binary)


def test_policies_keep_what_was_set() -> None:
    got = config.parse('[policy.default]\nkill_level = 9\n[policy."Bob@x.org"]\nspam_action = "pass"', "f")
    assert got.default_policy.settings == (("kill_level", 9.0),)
    (bob,) = got.entries
    assert (bob.key, bob.settings) == ("bob@x.org", (("spam_action", Action.PASS),))


def test_the_reference_file_is_what_the_code_says() -> None:
    """Written by `contentfilter config show --defaults`."""
    assert REFERENCE.read_text() == config.reference()


def test_the_reference_file_uncommented_is_the_default_configuration() -> None:
    body = REFERENCE.read_text().partition("# Settings of one recipient")[0].splitlines()
    text = "\n".join(line if re.match(r"# \S", line) else line.removeprefix("#") for line in body)
    got = config.parse(text, "uncommented")
    assert config.plain(got) == config.plain(config.parse("", "empty"))
    assert merged([got.default_policy]) == Policy()
    assert set(tomllib.loads(text)) == set(config.Config.model_fields) - {"list", "bank"}
    assert {name for name, _ in got.default_policy.settings} == set(Policy.model_fields)


def test_what_is_shown_can_be_read_again() -> None:
    text = 'hostname = "mx.example.org"\nworkers = 3\n[policy."a@b"]\nkill_level = 3.5\ntag_level = -inf'
    got = config.parse(text, "f")
    assert config.parse(config.show(got), "shown") == got


def test_which_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTENTFILTER_CONFIG", raising=False)
    assert config.path_in_use(None) == Path("/etc/contentfilter/contentfilter.toml")
    monkeypatch.setenv("CONTENTFILTER_CONFIG", "/x")
    assert config.path_in_use(None) == Path("/x")
    assert config.path_in_use(Path("/y")) == Path("/y")


@pytest.mark.parametrize(
    "key",
    [
        "default", "user@example.org", "user+ext@example.org", "user", "user+ext", "first.last@", "user@",
        "@example.org", "@.example.org", "@.", "@localhost", "user@[192.0.2.1]", "@[IPv6:2001:db8::1]",
        '"a b"@example.org', "o'neil@x.org", "@müller.example", "grüße@example.org", "abuse.", "v1.2", "a/b=c@x.org",
    ],
)  # fmt: skip
def test_who_can_have_a_policy(key: str) -> None:
    escaped = key.replace('"', '\\"')
    got = config.parse(f'[policy."{escaped}"]\nkill_level = 3', "f")
    assert got.policy[key].kill_level == 3.0
    assert config.parse(config.show(got), "shown") == got


@pytest.mark.parametrize(
    "key",
    ["", "@", "@@x", "user@*", "*@example.org", "*", "@*.example.org", "a b@example.org", "@example.org.", "@..",
     "@..org", "user@.example.org", "user@example..org", "a@b@example.org", "<user@example.org>",
     "@exa mple.org", "a,b@x.org"],
)  # fmt: skip
def test_who_cannot_have_a_policy(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f'[policy."{key}"]\nkill_level = 3', "f")
    assert str(caught.value).startswith(
        f'f: [policy."{key}"]: must be default, "user@example.org", "@example.org" for '
    )


@pytest.mark.parametrize("key", ["example.org", "mail.example.org", "first.last"])
def test_a_domain_without_its_at_sign_is_refused_with_a_hint(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f'[policy."{key}"]\nkill_level = 3', "f")
    assert str(caught.value) == (
        f'f: [policy."{key}"]: looks like a domain without its @: write "@{key}" for the domain, '
        f'or "{key}@" for the user of that name in every domain'
    )


async def test_a_bare_user_with_a_dot_is_found(tmp_path: Path) -> None:
    got = config.parse(f'state_directory = "{tmp_path}"\n[policy."First.Last@"]\nkill_level = 3', "f")
    policies = assembly.policies_for(got)
    assert (await effective_of(policies, "first.last@any.example")).policy.kill_level == 3.0
    assert (await effective_of(policies, "last@any.example")).policy.kill_level == 6.9


@pytest.mark.parametrize(("one", "other"), [("a@x.org", "A@X.org"), ("postmaster", "postmaster@")])
def test_two_entries_for_the_same_are_refused(one: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f'^f: policy: "{one}" and "{other}" mean the same$'):
        config.parse(f'[policy."{one}"]\nkill_level = 3\n[policy."{other}"]\nkill_level = 4', "f")


@pytest.mark.parametrize("text", ["", "[policy.default]\ntag_level = -inf"])
def test_what_is_shown_has_every_policy_key_and_is_json(text: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    done = CliRunner().invoke(cli, ["config", "show", "--json", "--config", str(file)])

    def no_constant(name: str) -> None:
        raise AssertionError(name)

    shown = json.loads(done.stdout, parse_constant=no_constant)
    assert set(shown["policy"]["default"]) == set(Policy.model_fields)
    assert shown["policy"]["default"]["tag_level"] == ("-inf" if text else 2.0)
    assert shown["policy"]["default"]["quarantine_cutoff_level"] == "inf"
    assert tomllib.loads(config.show(config.load(file)))["policy"]["default"].keys() == Policy.model_fields.keys()


def test_where_settings_have_defaults_of_their_own_they_are_those_of_the_configuration() -> None:
    got = config.parse("", "empty")
    assert assembly.intake_settings(got) == IntakeSettings(hostname=got.hostname, spool_directory=got.state_directory)
    hop = NextHopSettings(address=got.next_hop.address, hostname=got.hostname)
    assert assembly.next_hop_settings(got) == hop
    spamd = inspect.signature(SpamdInspector).parameters
    assert spamd["timeout"].default == got.spamassassin.timeout
    assert spamd["size_limit"].default == got.spamassassin.size_limit
    clamd = inspect.signature(ClamdInspector).parameters
    assert clamd["timeout"].default == got.clamav.timeout
    assert clamd["cache"].default == got.clamav.cache
    rspamd = inspect.signature(RspamdInspector).parameters
    assert rspamd["timeout"].default == got.rspamd.timeout
    assert rspamd["size_limit"].default == got.rspamd.size_limit
    for table in (got.clamav, got.spamassassin, got.rspamd):
        assert Resting() == Resting(table.failures_to_rest, table.rest)


def test_the_examples_of_the_manual_of_scanners_are_right() -> None:
    examples = re.findall(
        r"```toml\n(.*?)```", (Path(__file__).parents[2] / "docs" / "scanners.md").read_text(), re.DOTALL
    )
    assert len(examples) == 5
    for example in examples:
        config.parse(example, "docs/scanners.md")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('soft_reject = "later"', """must be a least score such as 6.2, "defer" or "ignore", not 'later'"""),
        ("reject = true", "must be a least score"),
        ("reject = inf", "must be a least score"),
        ("reject = [15.0]", "must be a least score"),
        ('"add header" = 5.0', "unknown key; did you mean add_header?"),
    ],
)
def test_a_meaning_of_an_action_that_is_none(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f"[rspamd.actions]\n{text}", "f")
    assert error in str(caught.value)
    assert "[rspamd.actions]" in str(caught.value)


def test_an_action_keeps_its_meaning_unless_it_is_given_another() -> None:
    got = config.parse('[rspamd]\nactions = { reject = 20, add_header = "ignore" }', "f").rspamd.actions
    assert (got.reject, got.add_header, got.rewrite_subject, got.soft_reject) == (20.0, "ignore", 6.2, "defer")


def test_an_address_or_a_list_of_them() -> None:
    one = config.parse('clamav.socket = "unix:/a"\nspamassassin.address = ["tcp:h:1", "unix:/b"]', "f")
    assert one.clamav.socket == ("unix:/a",)
    assert one.spamassassin.address == ("tcp:h:1", "unix:/b")


LISTS = """
[list."bob@example.org"]
allow = ["alice@example.com", "@Example.NET"]
score = { "@news.example" = -2.0 }
expires = { "@example.net" = 2030-12-31T12:00:00Z, "@news.example" = 2031-01-01T00:00:00Z }
[bank.outgoing]
local_source = true
policy = { spam_action = "reject" }
"""


def test_each_subject_of_a_list_may_end_at_its_own_time() -> None:
    listed = {one.subject: one.expires for one in config.parse(LISTS, "x").listed}
    assert listed == {"alice@example.com": None, "@example.net": 1924948800.0, "@news.example": 1924992000.0}


def test_an_end_of_what_is_not_listed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'expires: "carol@" stands neither in allow nor in deny nor in score$'):
        config.parse('[list."@."]\nallow = ["bob@"]\nexpires = { "carol@" = 2030-12-31 }', "x")


def test_lists_and_banks_are_shown_as_they_were_written() -> None:
    """A bank sets what it names: shown with every default it would seem to set them all."""
    shown = tomllib.loads(config.show(config.parse(LISTS, "x")))
    assert shown["list"]["bob@example.org"]["score"] == {"@news.example": -2.0}
    assert shown["bank"]["outgoing"]["policy"] == {"spam_action": "reject"}
    assert list(config.parse(config.show(config.parse(LISTS, "x")), "y").listed) == list(
        config.parse(LISTS, "x").listed
    )


POLICY_TOML = """
[policy."bob@x.org"]
kill_level = 3.5
expires = 2030-01-31
[list."@."]
allow = ["Alice@Y.example", "192.0.2.9/24"]
score = { "dkim:News.example" = -2.5 }
[bank.outgoing]
networks = ["10.0.0.0/8"]
policy = { spam_action = "reject" }
"""


def with_policy_file(tmp_path: Path, text: str, main: str = "") -> config.Config:
    (tmp_path / "policy.toml").write_text(text)
    (tmp_path / "contentfilter.toml").write_text(f'[policies]\nfile = "policy.toml"\n{main}')
    return config.load(tmp_path / "contentfilter.toml")


def test_a_policy_file_adds_to_the_configuration(tmp_path: Path) -> None:
    got = with_policy_file(tmp_path, POLICY_TOML, '[policy."al@x.org"]\ntag_level = 1\n')
    assert {(one.source, one.key) for one in got.entries} == {
        ("contentfilter.toml", "al@x.org"),
        ("policy.toml", "bob@x.org"),
    }
    bob = next(one for one in got.entries if one.key == "bob@x.org")
    assert bob.settings == (("kill_level", 3.5),)
    assert bob.expires == datetime(2030, 2, 1).timestamp()
    assert [str(one) for one in got.listed] == [
        "allow alice@y.example, listed for @. in policy.toml",
        "allow 192.0.2.0/24, listed for @. in policy.toml",
        "score -2.5 dkim:news.example, listed for @. in policy.toml",
    ]
    (bank,) = got.banks
    assert (bank.name, bank.settings) == ("outgoing", (("spam_action", Action.REJECT),))


@pytest.mark.parametrize(
    ("text", "main", "problem"),
    [
        ('[policy."bob@x.org"\nkill_level =', "", r"policy\.toml: is not TOML: .*line 1"),
        (
            "[limits]\nmax_hops = 1",
            "",
            r"policy\.toml: limits: belongs into the configuration itself; known here: bank, list, policy$",
        ),
        ("[polcy.default]\nkill_level = 1", "", r"policy\.toml: polcy: unknown key; did you mean policy\?"),
        ("[wrong]\nkill_level = 1", "", r"policy\.toml: wrong: unknown key; known here: bank, list, policy$"),
        (
            '[policy."b@x.org"]\nkil_level = 1',
            "",
            r'policy\.toml: \[policy\."b@x\.org"\] kil_level: .*mean kill_level\?',
        ),
        (
            '[policy."b@x.org"]\nkill_level = 1',
            '[policy."b@x.org"]\nkill_level = 2',
            r'policy\.toml: \[policy\."b@x\.org"\]: stands in .*contentfilter\.toml as well',
        ),
        (
            '[policy."b@x.org"]\nkill_level = 1',
            '[policy."B@X.org"]\nkill_level = 2',
            r'contentfilter\.toml with .*policy\.toml: policy: "B@X\.org" and "b@x\.org" mean the same',
        ),
        ('[policy."b@x.org"]\nexpires = "soon"', "", r"expires: must be a date such as 2026-12-31"),
        ('[list."b@x.org"]\nallow = ["x"]', "", r'allow: must be a sender such as "alice@example\.com"'),
        ('[list."b@x.org"]\nallow = ["a@b"]\ndeny = ["A@b"]', "", r'"a@b" stands here more than once'),
        ('[list."x.org"]\nallow = ["a@b"]', "", r"\[list\.\"x\.org\"\]: looks like a domain without its @"),
        ('[list."@."]\nscore = { "a@b" = inf }', "", r"must be a finite number"),
        ("[bank.b]\npolicy = { kill_level = 1 }", "", r"must have one of listeners, networks, local_source"),
        ('[bank."a b"]\nlocal_source = true', "", r"must be a name of letters"),
        (
            "[bank.b]\nlocal_source = true\npolicy = { kil_level = 1 }",
            "",
            r"\[bank\.b\.policy\] kil_level: unknown",
        ),
    ],
)
def test_a_bad_policy_file_is_named(tmp_path: Path, text: str, main: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        with_policy_file(tmp_path, text, main)


def test_a_policy_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "contentfilter.toml").write_text('[policies]\nfile = "gone.toml"')
    problem = r"contentfilter\.toml: \[policies\] file: .*/gone\.toml: cannot be read: No such file"
    with pytest.raises(ConfigError, match=problem):
        config.load(tmp_path / "contentfilter.toml")


def test_a_rules_file_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "contentfilter.toml").write_text('[rules]\nbody_checks = "rules/gone"')
    problem = r"contentfilter\.toml: \[rules\] body_checks: .*/rules/gone: cannot be read: No such file"
    with pytest.raises(ConfigError, match=problem):
        config.load(tmp_path / "contentfilter.toml")


def test_lists_banks_and_expiry_are_shown_so_that_they_can_be_read_again(tmp_path: Path) -> None:
    got = config.parse(POLICY_TOML, "f")
    again = config.parse(config.show(got), "shown")
    assert (again.entries, list(again.listed), again.banks) == (got.entries, list(got.listed), got.banks)
