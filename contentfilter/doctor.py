"""The doctor: is each neighbour there, does it answer as it should, and if not, what to do.

Nothing is changed and no mail is sent: clamd is shown the EICAR text, alone and in something large, spamd and Rspamd
the GTUBE text, the next hop is asked for its EHLO keywords, and Postfix's own postconf tells of the classic mistakes.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from contentfilter.config import Config, NamedFile
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.domains import LocalDomains
from contentfilter.endpoint import Endpoint
from contentfilter.errors import InspectorError, NextHopError
from contentfilter.inspectors.clamd import EICAR, ClamdInspector
from contentfilter.inspectors.spamd import SpamdInspector
from contentfilter.next_hop import NextHop
from contentfilter.policy.amavis_database import AmavisDatabase
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy_doctor import amavis_database, configuration_files, policy_database
from contentfilter.unpack import measures
from contentfilter.unpack.box import Box
from contentfilter.unpack.openers import missing_helpers

if TYPE_CHECKING:
    from contentfilter.inspectors.rspamd import RspamdInspector

_POSTCONF_SECONDS = 20
_CLAMD_SECONDS = 8
_LARGEST_PROBE = 100 << 20
"""Bytes: what the limits that we recommend for clamd are made for."""
_ZIP_OVERHEAD = 400
_OVER_LIMITS = "Heuristics.Limits.Exceeded"
_GTUBE_SCORE = 5.0
_AS_WHOM = "run doctor as the filter's user or root; the directory has to belong to the filter's user"
_BARS = {
    measures.USER: "start the daemon as a user of its own, as conf/contentfilter.service does",
    measures.PRIVILEGES: "this needs Linux 3.5 or newer",
    measures.SYSTEM_CALLS: "install libseccomp2; the kernel needs CONFIG_SECCOMP_FILTER",
    measures.FILES: "this needs Linux 5.13 or newer, and landlock in /sys/kernel/security/lsm (lsm= at boot)",
    measures.NETWORK: "look what keeps users from making namespaces: sysctl user.max_user_namespaces,"
    " kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, RestrictNamespaces in the unit;"
    " while seccomp holds no socket can be made all the same",
    measures.RESOURCES: "look for what keeps a process from lowering its limits; [unpack] memory is what it asks for",
}
"""What to do where a measure does not hold. The others hold all the same."""
_ELSEWHERE = ". For the daemon itself its log says so at the start (helpers that open containers run without ...)"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Postconf(Protocol):
    """Asks Postfix for its configuration."""

    def main(self, parameter: str) -> str:
        """A main.cf parameter, expanded."""
        ...

    def overrides(self) -> Mapping[str, str]:
        """The -o options of master.cf, as "service/type/parameter": value."""
        ...

    def services(self) -> Sequence[str]:
        """The services of master.cf, as "service/type"."""
        ...


class PostconfError(Exception):
    """Postfix's configuration cannot be asked for."""


class PostconfCommand:
    """postconf(1), for the instance that has its configuration in directory (None: the default one)."""

    def __init__(self, directory: Path | None = None) -> None:
        self._options = ["-c", str(directory)] if directory else []

    def main(self, parameter: str) -> str:
        """A main.cf parameter, expanded. Raises PostconfError."""
        return self._run("-hx", parameter).strip()

    def overrides(self) -> Mapping[str, str]:
        """The -o options of master.cf. Raises PostconfError."""
        pairs = (line.partition(" =") for line in self._run("-P").splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}

    def services(self) -> Sequence[str]:
        """The services of master.cf, each its name and type. Raises PostconfError."""
        return ["/".join(line.split()[:2]) for line in self._run("-M").splitlines()]

    def _run(self, *arguments: str) -> str:
        program = shutil.which("postconf", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise PostconfError("no postconf on this host")
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program with fixed arguments
                [program, *self._options, *arguments],
                capture_output=True,
                text=True,
                timeout=_POSTCONF_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise PostconfError(
                error.stderr.strip().splitlines()[-1] if error.stderr.strip() else str(error)
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostconfError(str(error)) from error
        return done.stdout


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom the doctor asks. box: not started, closed afterwards; so are the databases. amavis: None if there is none.

    clamd, spamd, rspamd: by address, each of them asked by itself; files: those that the configuration was read from.
    """

    clamd: Mapping[str, ClamdInspector]
    spamd: Mapping[str, SpamdInspector]
    next_hop: NextHop
    postconf: Postconf
    box: Box
    policies: PolicyDatabase
    amavis: AmavisDatabase | None = None
    files: Sequence[NamedFile] = ()
    rspamd: Mapping[str, RspamdInspector] = field(default_factory=dict)


async def examine(config: Config, neighbours: Neighbours) -> list[Diagnosis]:
    """Look at everything; what is switched off is not looked at."""
    diagnoses = list(_directories(config))
    diagnoses.extend(await asyncio.to_thread(lambda: list(configuration_files(config, neighbours.files))))
    diagnoses.append(await policy_database(config, neighbours.policies))
    if neighbours.amavis is not None:
        diagnoses.append(await amavis_database(config, neighbours.amavis))
    if config.clamav.enabled:
        for address, clamd in neighbours.clamd.items():
            diagnoses.append(await _clamd(address, clamd))
            if diagnoses[-1].state is State.WELL:
                diagnoses.append(await _clamd_limits(config, address, clamd))
    if config.spamassassin.enabled:
        diagnoses.extend([await _spamd(address, spamd) for address, spamd in neighbours.spamd.items()])
    if config.rspamd.enabled:
        diagnoses.extend([await _rspamd(address, rspamd) for address, rspamd in neighbours.rspamd.items()])
    diagnoses.extend(_openers())
    diagnoses.extend(await _box(neighbours.box))
    diagnoses.append(await _next_hop(config, neighbours.next_hop))
    diagnoses.extend(await asyncio.to_thread(lambda: list(_postfix(config, neighbours.postconf))))
    diagnoses.extend(_domains(config))
    return diagnoses


def _directories(config: Config) -> Iterator[Diagnosis]:
    for about, path in (
        ("state_directory", config.state_directory),
        ("[quarantine] directory", config.quarantine.directory),
    ):
        yield _directory(about, path)


def _directory(about: str, path: Path) -> Diagnosis:
    try:
        place = next(one for one in (path, *path.parents) if one.exists())
    except PermissionError:
        return Diagnosis(about, State.ILL, f"{path} is hidden from the user that you are", _AS_WHOM)
    if not place.is_dir():
        return Diagnosis(about, State.ILL, f"{place} is not a directory", f"set {about} to another place")
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        return Diagnosis(about, State.ILL, f"{place} is not writable for the user that you are", _AS_WHOM)
    return Diagnosis(about, State.WELL, f"{path} is writable" if place == path else f"{path} will be made")


def _openers() -> Iterator[Diagnosis]:
    about = "opening containers"
    lacking = missing_helpers()
    for what, consequence in lacking:
        yield Diagnosis(about, State.ODD, f"{what} is missing", f"install it, or these stay unchecked: {consequence}")
    if not lacking:
        yield Diagnosis(about, State.WELL, "every program and library is there")


async def _box(box: Box) -> list[Diagnosis]:
    """Whether containers are opened out of reach: a helper is started as the daemon does it, and tries its bars."""
    about = "the helpers' box"
    try:
        found = await box.measures()
    except InspectorError as error:
        return [Diagnosis(about, State.ILL, str(error), _AS_WHOM)]
    finally:
        await box.close()
    lacking = [
        Diagnosis(
            f"{about}, {each.name}", State.ODD, f"does not hold: {each.detail}", f"{_BARS[each.name]}{_ELSEWHERE}"
        )
        for each in found
        if not each.holds
    ]
    names = ", ".join(each.name for each in found)
    return lacking or [Diagnosis(about, State.WELL, f"started by uid {os.geteuid()} it has all of: {names}")]


async def _clamd(address: str, clamd: ClamdInspector) -> Diagnosis:
    about = f"clamd at {address}"
    try:
        version = await clamd.version()
        found = await clamd.scan_bytes(EICAR)
    except InspectorError as error:
        return Diagnosis(about, State.ILL, str(error), _clamd_advice(address, error))
    if not found:
        return Diagnosis(about, State.ILL, f"{version} does not find EICAR", "load a signature database (freshclam)")
    return Diagnosis(about, State.WELL, f"{version} finds EICAR as {found}")


async def _clamd_limits(config: Config, address: str, clamd: ClamdInspector) -> Diagnosis:
    """Whether clamd reads messages as large as we take them. Of a file above its limits it may say OK unread."""
    about = f"clamd's limits at {address}"
    size = min(config.limits.message_size, _LARGEST_PROBE)
    advice = "put the limits of conf/clamav/clamd.conf.snippet into clamd.conf, and restart clamd"
    probe = await asyncio.to_thread(_large_virus, size)
    try:
        async with asyncio.timeout(_CLAMD_SECONDS):
            found = await clamd.scan_bytes(probe)
    except TimeoutError:
        return Diagnosis(about, State.ODD, f"{size} bytes take it longer than {_CLAMD_SECONDS} s", "look at its load")
    except InspectorError as error:
        return Diagnosis(about, State.ODD, f"mail of {size} bytes cannot be scanned: {error}", advice)
    if not found:
        return Diagnosis(
            about, State.ODD, f'it says "OK" to a virus in {size} bytes, for it does not read them', advice
        )
    if found.startswith(_OVER_LIMITS):
        return Diagnosis(about, State.ODD, f"mail of {size} bytes will be unchecked: {found}", advice)
    return Diagnosis(about, State.WELL, f"it finds EICAR in {size} bytes")


def _large_virus(size: int) -> bytes:
    """A zip archive of about so many bytes, EICAR the first of its members and zeros the rest.

    EICAR counts as a virus only where a file begins with it and has little else, hence the archive.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as members:
        members.writestr("eicar.com", EICAR)
        members.writestr("zeros", bytes(max(0, size - _ZIP_OVERHEAD)))
    return archive.getvalue()


def _clamd_advice(address: str, error: InspectorError) -> str:
    path = address.removeprefix("unix:")
    if isinstance(error.__cause__, PermissionError):
        return f"let the filter's user open {path}: add it to the socket's group (adduser USER clamav)"
    if isinstance(error.__cause__, FileNotFoundError):
        return f"start clamav-daemon, or set [clamav] socket to its LocalSocket; {path} does not exist"
    return "start clamav-daemon, and compare [clamav] socket with clamd.conf"


async def _spamd(address: str, spamd: SpamdInspector) -> Diagnosis:
    about = f"spamd at {address}"
    try:
        finding = await spamd.probe()
    except InspectorError as error:
        return Diagnosis(
            about, State.ILL, str(error), "start spamd, and compare [spamassassin] address with its options"
        )
    if finding.score < _GTUBE_SCORE:
        advice = "look at spamd's log: are its rules there (sa-update)?"
        return Diagnosis(about, State.ILL, f"GTUBE scores only {finding.score:g}", advice)
    if any(test.score is None for test in finding.tests) or not finding.tests:
        advice = "tests will show without scores: put conf/spamassassin/contentfilter.cf into /etc/spamassassin"
        return Diagnosis(about, State.ODD, f"GTUBE scores {finding.score:g}, tests have no scores", advice)
    return Diagnosis(about, State.WELL, f"GTUBE scores {finding.score:g}, tests have scores")


async def _rspamd(address: str, rspamd: RspamdInspector) -> Diagnosis:
    about = f"Rspamd at {address}"
    try:
        answer = await rspamd.probe()
    except InspectorError as error:
        advice = "start rspamd, and compare [rspamd] address with bind_socket of its normal worker"
        return Diagnosis(about, State.ILL, str(error), advice)
    if answer.action != "reject":
        said = f'GTUBE gets the action "{answer.action}" and scores only {answer.score:g}'
        return Diagnosis(about, State.ILL, said, "look at its log, and for gtube_patterns in its options.inc")
    return Diagnosis(about, State.WELL, f'GTUBE gets the action "reject" and scores {answer.score:g}')


async def _next_hop(config: Config, next_hop: NextHop) -> Diagnosis:
    about = f"next hop at {config.next_hop.address}"
    try:
        keywords = await next_hop.capabilities()
    except NextHopError as error:
        advice = "add the reinjection service of master.cf.example to master.cf, and reload Postfix"
        return Diagnosis(about, State.ILL, str(error), advice)
    if "XFORWARD" not in keywords:
        advice = "set smtpd_authorized_xforward_hosts=127.0.0.0/8 for that service: Postfix offers it to those only"
        return Diagnosis(about, State.ODD, "does not permit XFORWARD, so its log will name us as the client", advice)
    missing = [word for word in ("DSN", "8BITMIME", "SMTPUTF8") if word not in keywords]
    if missing:
        advice = "look for smtpd_discard_ehlo_keywords in main.cf and master.cf"
        return Diagnosis(about, State.ODD, f"does not offer {', '.join(missing)}", advice)
    return Diagnosis(about, State.WELL, "permits XFORWARD, offers DSN, 8BITMIME and SMTPUTF8")


def _postfix(config: Config, postconf: Postconf) -> Iterator[Diagnosis]:
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


def _domains(config: Config) -> Iterator[Diagnosis]:
    if not config.domains.local:
        advice = 'set [domains] local = ["example.org"] to your domains'
        yield Diagnosis("[domains] local", State.ODD, "is empty, so nobody gets X-Spam fields", advice)
    else:
        yield Diagnosis("[domains] local", State.WELL, ", ".join(config.domains.local[:10]))
