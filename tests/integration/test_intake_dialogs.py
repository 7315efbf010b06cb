"""The dialog files, played whole, line by line and byte by byte to a live door."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contentfilter.envelope import Envelope
from contentfilter.reply import Reply
from tests.door import Client, Keeper, open_door

FILES = sorted((Path(__file__).parent.parent / "dialogs").glob("*.txt"))
LIMITS: dict[str, Any] = {"max_message_size": 2000, "max_recipients": 5, "max_command_length": 500, "max_errors": 20}
OF_ITS_OWN: dict[str, dict[str, Any]] = {"garbage": {"max_errors": 4}}
ANSWERS = {"busy@example.org": Reply(451, "4.7.1", "Busy"), "no@example.org": Reply(550, "5.7.1", "No")}


@dataclass
class Script:
    """What a dialog file says. turns: in order, ("C", bytes), ("S", line), ("S.", last line), ("X", "")."""

    turns: list[tuple[str, bytes]] = field(default_factory=list)
    envelopes: list[set[str]] = field(default_factory=list)
    messages: list[bytes | None] = field(default_factory=list)


def unescape(text: str) -> bytes:
    data = text.encode("latin-1")
    data = re.sub(rb"(\d+) \* (.)", lambda m: m[2] * int(m[1]), data)
    data = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes.fromhex(m[1].decode()), data)
    return data.replace(rb"\r", b"\r").replace(rb"\n", b"\n").replace(rb"\0", b"\0")


def load(path: Path) -> Script:
    script, previous = Script(), ""
    for line in path.read_text().splitlines():
        mark, text = line[:2], line[3:]
        if mark in {"C:", "C~"}:
            script.turns.append(("C", unescape(text) + (b"\r\n" if mark == "C:" else b"")))
        elif mark in {"S:", "S."}:
            script.turns.append((mark, text.encode()))
        elif mark == "E:" and previous == "E:":
            script.envelopes[-1] |= set(text.split())
        elif mark == "E:":
            script.envelopes.append(set(text.split()))
            script.messages.append(None)
        elif mark == "M:":
            script.messages[-1] = (script.messages[-1] or b"") + unescape(text) + b"\r\n"
        elif mark.strip() == "X":
            script.turns.append(("X", b""))
        else:
            assert not line or line.startswith("#"), f"{path.name}: {line!r}"
        previous = mark
    return script


def facts(envelope: Envelope, content: bytes) -> set[str]:
    client = envelope.client
    pairs = [
        *(("rcpt", recipient.address) for recipient in envelope.recipients),
        *((name, getattr(envelope, name)) for name in ("mail_from", "body", "ret", "envid")),
        *((name, getattr(client, name)) for name in ("name", "addr", "port", "proto", "helo", "ident", "source")),
        ("protocol", envelope.protocol.value),
        ("peer", envelope.peer.helo),
        ("size", len(content)),
    ]
    return {f"{name}={value}".replace(" ", r"\x20") for name, value in pairs}


async def hear(client: Client, mark: str, pattern: str) -> None:
    line = await (client.reply() if mark == "S." else client.line())
    assert fnmatch.fnmatchcase(line, pattern.replace("[", "[[]")), f"got {line!r}, want {pattern!r}"


def portions(script: Script, how: str) -> Iterator[tuple[str, bytes]]:
    """The turns, with what the client says cut or gathered."""
    if how == "whole":
        yield "C", b"".join(data for mark, data in script.turns if mark == "C")
        yield from ((mark, data) for mark, data in script.turns if mark != "C")
    else:
        for mark, data in script.turns:
            if how == "bytes" and mark == "C":
                yield from (("C", data[i : i + 1]) for i in range(len(data)))
            else:
                yield mark, data


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("how", ["whole", "lines", "bytes"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_dialog(path: Path, how: str, kind: str, tmp_path: Path) -> None:
    script = load(path)
    keeper = Keeper(ANSWERS)
    limits = LIMITS | OF_ITS_OWN.get(path.stem, {})
    async with open_door(tmp_path, keeper, **limits) as door, await door.connect(kind) as client:
        for mark, data in portions(script, how):
            if mark == "C":
                await client.send(data)
            elif mark == "X":
                assert await client.rest() == b""
            else:
                await hear(client, mark, data.decode())
    assert len(keeper.taken) == len(script.envelopes)
    for (envelope, content), want, message in zip(keeper.taken, script.envelopes, script.messages, strict=True):
        assert want <= facts(envelope, content)
        assert len([fact for fact in want if fact.startswith("rcpt=")]) <= len(envelope.recipients)
        if message is not None:
            assert content == message


def test_there_are_dialogs() -> None:
    assert len(FILES) >= 8
