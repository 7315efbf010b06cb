"""The doctor for scanners: each is shown what every one of its kind has to find.

clamd gets the EICAR text, alone and in something large, spamd and Rspamd the GTUBE text.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from typing import TYPE_CHECKING

from contentfilter.config import Config
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.errors import InspectorError
from contentfilter.inspectors.clamd import EICAR, ClamdInspector
from contentfilter.inspectors.spamd import SpamdInspector

if TYPE_CHECKING:
    from contentfilter.inspectors.rspamd import RspamdInspector

_CLAMD_SECONDS = 8
_LARGEST_PROBE = 100 << 20
"""Bytes: what the limits that we recommend for clamd are made for."""
_ZIP_OVERHEAD = 400
_OVER_LIMITS = "Heuristics.Limits.Exceeded"
_GTUBE_SCORE = 5.0


async def examine_clamd(address: str, clamd: ClamdInspector) -> Diagnosis:
    """Whether clamd answers, and finds EICAR."""
    about = f"clamd at {address}"
    try:
        version = await clamd.version()
        found = await clamd.scan_bytes(EICAR)
    except InspectorError as error:
        return Diagnosis(about, State.ILL, str(error), _clamd_advice(address, error))
    if not found:
        return Diagnosis(about, State.ILL, f"{version} does not find EICAR", "load a signature database (freshclam)")
    return Diagnosis(about, State.WELL, f"{version} finds EICAR as {found}")


async def examine_clamd_limits(config: Config, address: str, clamd: ClamdInspector) -> Diagnosis:
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


async def examine_spamd(address: str, spamd: SpamdInspector) -> Diagnosis:
    """Whether spamd answers, finds GTUBE, and tells what each test scored."""
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


async def examine_rspamd(address: str, rspamd: RspamdInspector) -> Diagnosis:
    """Whether Rspamd answers, and would reject GTUBE."""
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
