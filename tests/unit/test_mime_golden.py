"""Golden messages: each NN-name.eml has its tree beside it in NN-name.toml, with a word on why it is there."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest

from contentfilter.mime import Part, Tree, parse

MESSAGES = Path(__file__).parent.parent / "messages"
NAMES = sorted(path.stem for path in MESSAGES.glob("*.eml"))


def described(part: Part, wanted: dict[str, object]) -> dict[str, object]:
    """The part in the words of the file: what is empty or usual is left out."""
    content = part.content()
    told: dict[str, object] = {
        "encoding": part.encoding if part.encoding != "7bit" else "",
        "charset": part.charset,
        "disposition": part.disposition,
        "names": list(part.names),
        "readings": list(part.readings),
    }
    result: dict[str, object] = {"path": part.path, "type": part.declared_type}
    result |= {key: value for key, value in told.items() if value}
    if not part.is_leaf:
        result["leaf"] = False
    elif "sha256" in wanted:
        result["sha256"] = hashlib.sha256(content).hexdigest()
    else:
        result["content"] = content.decode("latin-1")
    return result


def tree_of(name: str) -> Tree:
    return parse((MESSAGES / f"{name}.eml").read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_golden_message_has_exactly_the_described_parts(name: str) -> None:
    wanted = tomllib.loads((MESSAGES / f"{name}.toml").read_text("utf-8"))
    tree = tree_of(name)
    assert len(tree.parts) == len(wanted["parts"])
    assert [described(part, want) for part, want in zip(tree.parts, wanted["parts"], strict=True)] == wanted["parts"]
    assert [f"{each.path} {each.name}" for each in tree.ambiguities] == wanted["ambiguities"]
    assert tree.exceeded == ()


def test_every_golden_message_says_why_it_is_there() -> None:
    assert len(NAMES) >= 25
    for name in NAMES:
        assert tomllib.loads((MESSAGES / f"{name}.toml").read_text("utf-8"))["why"]


@pytest.mark.parametrize("name", NAMES)
def test_offsets_of_parts_lie_in_their_buffers(name: str) -> None:
    tree = tree_of(name)
    for part in tree.parts:
        assert 0 <= part.header.start <= part.header.end <= part.start <= part.end <= len(part.buffer)
    paths = [part.path for part in tree.parts]
    assert len(set(paths)) == len(paths)
    assert {part.parent for part in tree.parts} <= {"", *paths}
