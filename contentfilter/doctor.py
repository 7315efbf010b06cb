"""The doctor: is each neighbour there, does it answer as it should, and if not, what to do.

Nothing is changed and no mail is sent: clamd is shown the EICAR text, alone and in something large, spamd and Rspamd
the GTUBE text, the next hop is asked for its EHLO keywords, and Postfix's own postconf tells of the classic mistakes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from contentfilter.config import Config, NamedFile
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.errors import InspectorError, NextHopError
from contentfilter.inspectors.clamd import ClamdInspector
from contentfilter.inspectors.spamd import SpamdInspector
from contentfilter.next_hop import NextHop
from contentfilter.policy.amavis_database import AmavisDatabase
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy_doctor import amavis_database, configuration_files, policy_database
from contentfilter.postconf import Postconf
from contentfilter.postfix_doctor import postfix
from contentfilter.scanner_doctor import examine_clamd, examine_clamd_limits, examine_rspamd, examine_spamd
from contentfilter.unpack import measures
from contentfilter.unpack.box import Box
from contentfilter.unpack.openers import missing_helpers

if TYPE_CHECKING:
    from contentfilter.inspectors.rspamd import RspamdInspector

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
            diagnoses.append(await examine_clamd(address, clamd))
            if diagnoses[-1].state is State.WELL:
                diagnoses.append(await examine_clamd_limits(config, address, clamd))
    if config.spamassassin.enabled:
        diagnoses.extend([await examine_spamd(address, spamd) for address, spamd in neighbours.spamd.items()])
    if config.rspamd.enabled:
        diagnoses.extend([await examine_rspamd(address, rspamd) for address, rspamd in neighbours.rspamd.items()])
    diagnoses.extend(_openers())
    diagnoses.extend(await _box(neighbours.box))
    diagnoses.append(await _next_hop(config, neighbours.next_hop))
    diagnoses.extend(await asyncio.to_thread(lambda: list(postfix(config, neighbours.postconf))))
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


def _domains(config: Config) -> Iterator[Diagnosis]:
    if not config.domains.local:
        advice = 'set [domains] local = ["example.org"] to your domains'
        yield Diagnosis("[domains] local", State.ODD, "is empty, so nobody gets X-Spam fields", advice)
    else:
        yield Diagnosis("[domains] local", State.WELL, ", ".join(config.domains.local[:10]))
