"""The doctor for Postfix: the classic mistakes in main.cf and master.cf."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from contentfilter.config import Config
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.domains import LocalDomains
from contentfilter.endpoint import Endpoint
from contentfilter.postconf import Postconf, PostconfError

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def postfix(config: Config, postconf: Postconf) -> Iterator[Diagnosis]:
    """Whether mail would go in circles or come twice, and which of Postfix's domains the filter does not know."""
    try:
        yield _loop(config, postconf)
        yield _address_mappings(postconf)
        yield from _foreign_domains(config, postconf)
    except PostconfError as error:
        advice = "run doctor on the Postfix host, or name its directory with --postfix-config"
        yield Diagnosis("Postfix", State.ODD, f"its configuration cannot be asked for: {error}", advice)


def _loop(config: Config, postconf: Postconf) -> Diagnosis:
    """Whether what we reinject comes back to us."""
    about = "reinjection port"
    address = Endpoint.parse(config.next_hop.address)
    services = _serving(address, postconf.services())
    if not services:
        advice = "add the reinjection service of master.cf.example to master.cf, unless the next hop is another host"
        return Diagnosis(about, State.ODD, f"no service in master.cf listens on {address}", advice)
    overrides = postconf.overrides()
    general = postconf.main("content_filter")
    for service in services:
        content_filter = overrides.get(f"{service}/content_filter", general)
        if content_filter:
            advice = f"mail will loop: put  -o content_filter=  below {service} in master.cf"
            return Diagnosis(about, State.ILL, f"content_filter of {service} is {content_filter}", advice)
    return Diagnosis(about, State.WELL, f"{', '.join(services)} has no content_filter")


def _serving(address: Endpoint, services: Iterable[str]) -> list[str]:
    """Those of the services, each "name/type", that listen on the address."""
    if address.path:
        # Postfix makes its Unix sockets in the directories private and public of its queue, by the service's name.
        return [one for one in services if one == f"{Path(address.path).name}/unix"]
    found = []
    for service in services:
        name, _, kind = service.rpartition("/")
        host, _, port = name.rpartition(":")
        if kind == "inet" and _port(port) == address.port and _same_host(host.strip("[]"), address.host):
            found.append(service)
    return found


def _port(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else socket.getservbyname(text, "tcp")
    except OSError:
        return 0


def _same_host(service: str, ours: str) -> bool:
    """Whether a service on this host ("": all) is reached by that name or address; loopback has several."""
    return service in {"", ours} or {service, ours} <= _LOOPBACK


def _address_mappings(postconf: Postconf) -> Diagnosis:
    about = "address mappings"
    options = postconf.main("receive_override_options")
    if not postconf.main("content_filter"):
        return Diagnosis(about, State.ODD, "main.cf has no content_filter", "see conf/main.cf.snippet")
    if "no_address_mappings" not in options:
        advice = "aliases are expanded twice, so some get mail twice: receive_override_options = no_address_mappings"
        return Diagnosis(about, State.ODD, "made before and after the filter", advice)
    return Diagnosis(about, State.WELL, "made once, after the filter")


def _foreign_domains(config: Config, postconf: Postconf) -> Iterator[Diagnosis]:
    """Domains that Postfix delivers or relays for, and that [domains] local does not know."""
    local = LocalDomains(config.domains.local)
    words: Sequence[str] = " ".join(
        postconf.main(name) for name in ("mydestination", "virtual_mailbox_domains", "relay_domains")
    ).replace(",", " ").split()  # fmt: skip
    domains = [word for word in words if "/" not in word and ":" not in word and "." in word.strip(".")]
    missing = sorted({domain for domain in domains if not local.has(f"x@{domain.lstrip('.')}")})
    if missing:
        advice = "add them to [domains] local: their recipients get no X-Spam fields and no subject tag"
        yield Diagnosis("Postfix's domains", State.ODD, f"not local here: {', '.join(missing[:10])}", advice)
