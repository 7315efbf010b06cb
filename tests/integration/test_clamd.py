"""ClamdInspector against a real clamd: over a Unix socket and over TCP, under asyncio's loop and under uvloop."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentfilter import config, mime
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.envelope import Envelope
from contentfilter.errors import InspectorError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Subject
from contentfilter.inspectors.clamd import EICAR, ClamdInspector
from contentfilter.message import Message, Spool
from contentfilter.scanner_doctor import examine_clamd_limits
from demo.neighbours.clamd import EICAR_NAME, OWN_NAME, OWN_TEST_VIRUS, Clamd
from tests.integration.conftest import Run


@pytest.fixture(params=["unix", "tcp"])
def inspector(request: pytest.FixtureRequest, clamd: Clamd) -> ClamdInspector:
    return ClamdInspector(clamd.address if request.param == "unix" else clamd.tcp_address, timeout=60)


def multipart(*contents: bytes) -> bytes:
    """A message with these contents as base64 attachments; their paths are 1.1, 1.2 and so on."""
    parts = b"".join(
        b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n%b\r\n"
        % base64.encodebytes(content).replace(b"\n", b"\r\n")
        for content in contents
    )
    return b"Subject: test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n%b--b--\r\n" % parts


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("harmless.txt", b"nothing here")
        members.writestr("eicar.com", content)
    return archive.getvalue()


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def scan(run: Run, inspector: ClamdInspector, message: Message) -> tuple[Finding, ...]:
    with message:
        subject = Subject("id", Envelope("", ()), message, mime.parse(message.buffer))
        findings = run(inspector.inspect(subject))
        assert isinstance(findings, tuple)
        return findings


def found(part: str, name: str = EICAR_NAME) -> Finding:
    return Finding(Kind.VIRUS, "clamd", name, part)


def test_a_clean_message(run: Run, inspector: ClamdInspector) -> None:
    assert scan(run, inspector, Message(multipart(b"hello world", zipped(b"hello again")))) == ()


def test_eicar_in_plain_text(run: Run, inspector: ClamdInspector) -> None:
    message = Message(b"Subject: test\r\n\r\n" + EICAR + b"\r\n")
    assert scan(run, inspector, message) == (found(""), found("1"))


def test_eicar_and_our_own_in_base64(run: Run, inspector: ClamdInspector) -> None:
    findings = scan(run, inspector, Message(multipart(b"hello", EICAR, b"good bye", OWN_TEST_VIRUS)))
    assert findings == (found(""), found("1.2"), found("1.4", OWN_NAME))


def test_eicar_in_a_zip(run: Run, inspector: ClamdInspector) -> None:
    assert found("1.2") in scan(run, inspector, Message(multipart(b"see the archive", zipped(EICAR))))


def test_sixty_leaves_each_with_its_own_answer(run: Run, inspector: ClamdInspector) -> None:
    infected = {7, 8, 30, 60}
    contents = [b"part %d " % number + (EICAR if number in infected else b"") for number in range(1, 61)]
    findings = scan(run, inspector, Message(multipart(*contents)))
    assert {finding.part for finding in findings} - {""} == {f"1.{number}" for number in infected}


def test_thirty_megabytes_from_a_spool_file(run: Run, inspector: ClamdInspector, tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.write(multipart(os.urandom(22_000_000) + EICAR))
    message = spool.finish()
    assert len(message) > 29_000_000
    assert found("1.1") in scan(run, inspector, message)


def test_an_empty_message(run: Run, inspector: ClamdInspector) -> None:
    assert scan(run, inspector, Message(b"")) == ()


def test_probes(run: Run, inspector: ClamdInspector) -> None:
    run(inspector.ping())
    assert run(inspector.version()).startswith("ClamAV ")
    assert run(inspector.scan_bytes(EICAR)) == EICAR_NAME
    assert run(inspector.scan_bytes(b"hello")) == ""


@pytest.fixture
def small_limits(open_directory: Path) -> Iterator[Clamd]:
    """A clamd of one test's own, with limits lower than our snippet's."""
    directory = open_directory / "clamd-small"
    directory.mkdir(exist_ok=True)
    with Clamd(directory, tcp=True, options="MaxFileSize 1M\nStreamMaxLength 1M") as running:
        yield running


def test_over_clamds_limit_is_unchecked_with_a_descriptor_and_a_failure_in_a_stream(
    run: Run, small_limits: Clamd
) -> None:
    raw = b"Subject: large\r\n\r\n" + b"A line of text.\r\n" * 200_000
    names = {finding.name for finding in scan(run, ClamdInspector(small_limits.address), Message(raw))}
    assert names == {"Heuristics.Limits.Exceeded.MaxFileSize"}
    with pytest.raises(InspectorError):
        scan(run, ClamdInspector(small_limits.tcp_address), Message(raw))


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_clamd_killed_in_the_middle(run: Run, small_limits: Clamd, kind: str) -> None:
    inspector = ClamdInspector(small_limits.address if kind == "unix" else small_limits.tcp_address, timeout=20)
    message = Message(multipart(*(b"part %d " % number * 1000 for number in range(1000))))

    async def kill_meanwhile(subject: Subject) -> None:
        inspecting = asyncio.create_task(inspector.inspect(subject))
        await asyncio.sleep(0)
        await inspector.ping()
        assert not inspecting.done()
        small_limits.stop()
        with pytest.raises(InspectorError):
            await inspecting
        with pytest.raises(InspectorError):
            await inspector.inspect(subject)

    with message:
        run(kill_meanwhile(Subject("id", Envelope("", ()), message, mime.parse(message.buffer))))


def test_nothing_stays_open(run: Run, inspector: ClamdInspector, clamd: Clamd) -> None:
    message = Message(multipart(b"one", b"two", EICAR))
    scan(run, inspector, message)
    before = open_descriptors()
    for _ in range(5):
        scan(run, inspector, message)
    assert open_descriptors() == before


# What Debian's clamd.conf says.
DEBIAN = "MaxScanSize 100M\nMaxFileSize 25M\nStreamMaxLength 25M\nMaxScanTime 120000\n"


@pytest.mark.parametrize(
    ("options", "kind", "state", "found"),
    [
        (f"{DEBIAN}AlertExceedsMax no", "unix", State.ODD, 'says "OK" to a virus in 104857600 bytes'),
        (f"{DEBIAN}AlertExceedsMax yes", "unix", State.ODD, "unchecked: Heuristics.Limits.Exceeded.MaxFileSize"),
        (DEBIAN, "tcp", State.ODD, "INSTREAM size limit exceeded"),
        ("", "unix", State.WELL, "finds EICAR in 104857600 bytes"),
        ("", "tcp", State.WELL, "finds EICAR in 104857600 bytes"),
    ],
    ids=["debian", "debian-alert", "debian-tcp", "snippet", "snippet-tcp"],
)
def test_the_doctor_knows_of_the_limits(
    run: Run, open_directory: Path, options: str, kind: str, state: State, found: str
) -> None:
    directory = open_directory / "clamd-limits"
    directory.mkdir(exist_ok=True)
    with Clamd(directory, tcp=True, options=options) as running:
        address = running.address if kind == "unix" else running.tcp_address
        settings = config.parse(f'clamav.socket = "{address}"', "f")
        got = run(examine_clamd_limits(settings, address, ClamdInspector(address)))
    assert isinstance(got, Diagnosis)
    assert got.state is state
    assert found in got.found
    assert ("clamd.conf.snippet" in got.advice) is (state is State.ODD)
