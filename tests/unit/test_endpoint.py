"""What the configuration may call an address can be used; what cannot be used is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import config
from contentfilter.endpoint import Endpoint, SchemeEndpoint
from contentfilter.errors import ConfigError
from contentfilter.inspectors.clamd import ClamdInspector
from contentfilter.inspectors.spamd import SpamdInspector
from contentfilter.next_hop import NextHop, NextHopSettings
from contentfilter.sockets import bind

GOOD = {
    "127.0.0.1:10025": Endpoint(host="127.0.0.1", port=10025),
    "localhost:1": Endpoint(host="localhost", port=1),
    "mail-1.example.org:65535": Endpoint(host="mail-1.example.org", port=65535),
    "scanner_1:25": Endpoint(host="scanner_1", port=25),
    "[::1]:10026": Endpoint(host="::1", port=10026),
    "[fe80::1%eth0]:25": Endpoint(host="fe80::1%eth0", port=25),
    "unix:/run/a b.sock": Endpoint(path="/run/a b.sock"),
}

BAD_HOSTS = [
    "",
    "host",
    ":25",
    "host:",
    "host:0",
    "host:65536",
    "host:smtp",
    "host:٢٥",
    "host: 25",
    "host:25\n",
    "a b:25",
    "::1:3310",
    "[::1]",
    "[::1:25",
    "::1]:25",
    "[host]:25",
    "[]:25",
    "[127.0.0.1]:25",
    "a..b:25",
    f"{'x' * 64}:25",
    "*:25",
    "müller.example:25",
    "user@host:25",
    "/run/x:25",
]
BAD_PATHS = ["unix:", "unix:run/x", "unix:/run/\0x", f"unix:/{'x' * 107}"]


@pytest.mark.parametrize(("text", "want"), GOOD.items())
def test_addresses(text: str, want: Endpoint) -> None:
    assert Endpoint.parse(text) == want
    assert str(want) == text


@pytest.mark.parametrize(("text", "want"), GOOD.items())
def test_addresses_with_scheme(text: str, want: Endpoint) -> None:
    full = text if want.path else f"tcp:{text}"
    got = SchemeEndpoint.parse(full)
    assert got == SchemeEndpoint(want.path, want.host, want.port)
    assert str(got) == full


@pytest.mark.parametrize("text", [*BAD_HOSTS, *BAD_PATHS])
def test_what_is_no_address_is_refused_wherever_one_is_read(text: str) -> None:
    full = text if text.startswith("unix:") else f"tcp:{text}"
    for complain in (
        lambda: Endpoint.parse(text),
        lambda: bind(text, 0o660),
        lambda: SchemeEndpoint.parse(full),
        lambda: ClamdInspector(full),
        lambda: SpamdInspector(full),
    ):
        with pytest.raises(ValueError, match=r"^must be "):
            complain()


@pytest.mark.parametrize("text", BAD_HOSTS)
def test_the_next_hop_refuses_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        NextHop(NextHopSettings(text, "filter.example.org"))


@pytest.mark.parametrize("place", ["clamav.socket", "spamassassin.address"])
@pytest.mark.parametrize("text", ["tcp:::1:3310", "tcp:a b:25", "127.0.0.1:783", "/run/x", "tcp:unix:/x", ""])
def test_the_configuration_refuses_what_the_scanners_would(place: str, text: str) -> None:
    table, key = place.split(".")
    with pytest.raises(ConfigError, match=rf'\[{table}\] {key}: must be "unix:/path" or "tcp:host:port", not '):
        config.parse(f'[{table}]\n{key} = "{text}"', "f")


@pytest.mark.parametrize("text", ["::1:25", "a b:25"])
def test_the_configuration_refuses_what_cannot_be_listened_on(text: str) -> None:
    for table in (f'[listen]\naddresses = ["{text}"]', f'[next_hop]\naddress = "{text}"'):
        with pytest.raises(ConfigError, match=r'must be "host:port" or "unix:/path", not '):
            config.parse(table, "f")


def test_an_ipv6_address_without_brackets_is_told_of_them() -> None:
    with pytest.raises(ValueError, match="an IPv6 address stands in brackets"):
        Endpoint.parse("::1:25")


@given(st.text(max_size=40) | st.from_regex(r"\A(tcp:)?[\w.\[\]:%-]{1,20}:[0-9]{1,5}\Z"))
def test_what_is_parsed_can_be_written_and_parsed_again(text: str) -> None:
    for kind in (Endpoint, SchemeEndpoint):
        with contextlib.suppress(ValueError):
            parsed = kind.parse(text)
            written = str(parsed)
            assert kind.parse(written) == parsed
            parsed.host.encode("idna")  # as the resolver does, which raises no OSError
