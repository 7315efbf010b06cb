"""Clients that others wrote: smtplib, and Postfix's smtp-source."""

from __future__ import annotations

import asyncio
import shutil
import smtplib
from pathlib import Path

import pytest

from contentfilter.envelope import Protocol
from tests.door import PATIENCE, Door, Keeper, open_door

SMTP_SOURCE = shutil.which("smtp-source", path="/usr/sbin:/usr/bin:/usr/local/sbin")


async def test_smtplib(tmp_path: Path) -> None:
    def talk(port: int) -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.ehlo("client.example")
            assert client.esmtp_features["size"] == "104857600"
            assert "smtputf8" in client.esmtp_features
            return client.sendmail(
                "jürgen@example.org",
                ["a@example.org", "<>", "b@example.org"],
                "Subject: hi\n\n.dot\n..dots\n.\nend\n",
                mail_options=["SMTPUTF8", "BODY=8BITMIME", "RET=HDRS"],
                rcpt_options=["NOTIFY=FAILURE"],
            )

    keeper = Keeper()
    async with open_door(tmp_path, keeper) as door:
        refused = await asyncio.to_thread(talk, door.port)
    assert [(code, text[:5]) for code, text in refused.values()] == [(501, b"5.1.3")]
    envelope, content = keeper.taken[0]
    assert content == b"Subject: hi\r\n\r\n.dot\r\n..dots\r\n.\r\nend\r\n"
    assert (envelope.mail_from, envelope.ret, envelope.smtputf8) == ("jürgen@example.org", "HDRS", True)
    assert [(r.address, r.notify) for r in envelope.recipients] == [
        ("a@example.org", ("FAILURE",)),
        ("b@example.org", ("FAILURE",)),
    ]


async def test_smtplib_lmtp_on_a_unix_socket(tmp_path: Path) -> None:
    def talk(path: Path) -> list[tuple[int, bytes]]:
        with smtplib.LMTP(str(path)) as client:
            client.ehlo("client.example")
            client.mail("a@example.org")
            client.rcpt("one@example.org")
            client.rcpt("two@example.org")
            first = client.data(b"x\r\n")
            return [first, client.getreply()]

    keeper = Keeper()
    async with open_door(tmp_path, keeper) as door:
        assert await asyncio.to_thread(talk, door.path) == [(250, b"2.0.0 Ok")] * 2
    assert keeper.taken[0][0].protocol is Protocol.LMTP


async def smtp_source(door: Door, kind: str, *options: str) -> None:
    address = f"unix:{door.path}" if kind == "unix" else f"inet:127.0.0.1:{door.port}"
    assert SMTP_SOURCE is not None
    process = await asyncio.create_subprocess_exec(SMTP_SOURCE, *options, address, stderr=asyncio.subprocess.PIPE)
    _, complaints = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, complaints


@pytest.mark.skipif(SMTP_SOURCE is None, reason="smtp-source (Postfix) is not installed")
@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("connections", ["one each", "kept"])
@pytest.mark.parametrize("protocol", [Protocol.SMTP, Protocol.LMTP])
async def test_smtp_source(protocol: Protocol, connections: str, kind: str, tmp_path: Path) -> None:
    keeper = Keeper()
    options = ["-s", "5", "-m", "100", "-l", "5000", "-r", "3", "-f", "from@x.example", "-t", "to@y.example"]
    options += ["-L"] if protocol is Protocol.LMTP else []
    options += ["-d"] if connections == "kept" else []
    async with open_door(tmp_path, keeper) as door:
        await smtp_source(door, kind, *options)
        await door.empty()
    assert len(keeper.taken) == 100
    assert {envelope.protocol for envelope, _ in keeper.taken} == {protocol}
    assert {len(envelope.recipients) for envelope, _ in keeper.taken} == {3}
    # smtp-source ends its text with an empty line of its own.
    assert {len(content.partition(b"\r\n\r\n")[2]) for _, content in keeper.taken} == {5000 + 2}


@pytest.mark.skipif(SMTP_SOURCE is None, reason="smtp-source (Postfix) is not installed")
async def test_smtp_source_sends_a_file_through_the_spool(tmp_path: Path) -> None:
    original = tmp_path / "message"
    original.write_bytes(b"Subject: big\n\n" + b".\n..\nline\n" * 300_000)
    keeper = Keeper()
    async with open_door(tmp_path, keeper, memory_threshold=100_000) as door:
        await smtp_source(door, "tcp", "-F", str(original), "-f", "a@b.example", "-t", "c@d.example")
    assert keeper.taken[0][1] == original.read_bytes().replace(b"\n", b"\r\n") + b"\r\n"
