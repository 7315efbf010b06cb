"""rar and arj with passwords: opened by those that are told, else unchecked, with the names all the same."""

from __future__ import annotations

import pytest

from contentfilter.unpack import openers
from contentfilter.unpack.opener import EncryptedError
from contentfilter.unpack.openers.rar import Rar
from tests.corpus.images import sample
from tests.corpus.locked import arj_locked, rar4_locked, rar5_locked
from tests.unit.opener_sink import unpack
from tests.unit.test_openers_archives import ARJ_LOCKED, BOTH, PE, TEXT, rar4, rar5

FOO, BAR = b"data of foo.txt\n", b"data of bar.txt\n"
LINES = b"".join(b"%03d\n" % number for number in range(512))
OF_RAR4 = {"foo.txt": FOO, "bar.txt": BAR}
OF_RAR5 = {"stest1.txt": LINES, "stest2.txt": LINES}

LOCKED = {
    "rar4": (sample("rar4-locked.rar"), "12345678", OF_RAR4),
    "rar4, one of two": (sample("rar4-partly-locked.rar"), "12345678", OF_RAR4),
    "rar4, of ours": (rar4_locked(b"a.txt", TEXT, "sésam"), "sésam", {"a.txt": TEXT}),
    "rar5": (sample("rar5-locked.rar"), "password", OF_RAR5),
    "rar5, blake": (sample("rar5-locked-blake.rar"), "password", OF_RAR5),
    "rar5, of ours": (rar5_locked(b"a.txt", TEXT, "sésam"), "sésam", {"a.txt": TEXT}),
    "arj": (ARJ_LOCKED, "sesam", {"a.txt": TEXT}),
    "arj, of ours": (arj_locked(b"a.txt", TEXT, b"sesam"), "sesam", {"a.txt": TEXT}),
}
NAMES_LOCKED = {
    "rar4": (sample("rar4-names-locked.rar"), "12345678", OF_RAR4),
    "rar5": (sample("rar5-names-locked.rar"), "password", OF_RAR5),
}


@pytest.mark.parametrize("name", LOCKED)
def test_the_right_password_opens_it(name: str) -> None:
    content, password, expected = LOCKED[name]
    for passwords in ((password,), ("wrong", "worse", password)):
        sink = unpack(content, passwords)
        assert sink.found == expected
        assert (sink.without_content, sink.troubles, sink.errors) == ([], [], [])


@pytest.mark.parametrize("passwords", [(), ("wrong", "worse")], ids=["none", "wrong"])
@pytest.mark.parametrize("name", LOCKED)
def test_without_it_the_names_are_told_and_nothing_is_made_up(name: str, passwords: tuple[str, ...]) -> None:
    content, _, expected = LOCKED[name]
    sink = unpack(content, passwords)
    left = {"bar.txt": BAR} if name == "rar4, one of two" else {}
    assert sink.found == left
    assert sink.without_content == [(each, "encrypted") for each in expected if each not in left]


@pytest.mark.parametrize("name", NAMES_LOCKED)
def test_encrypted_names(name: str) -> None:
    content, password, expected = NAMES_LOCKED[name]
    for locked in (content, PE + content):
        sink = unpack(locked, ("wrong",))
        assert any(isinstance(error, EncryptedError) for error in sink.errors)
        assert not sink.found
        sink = unpack(locked, ("wrong", password))
        assert sink.found == expected
        assert (sink.without_content, sink.troubles, sink.errors) == ([], [], [])


@pytest.mark.parametrize("name", ["rar4", "rar5"])
def test_behind_a_program(name: str) -> None:
    content, password, expected = LOCKED[name]
    assert unpack(PE + content, (password,)).found == expected
    sink = unpack(PE + content)
    assert not sink.found
    assert sink.without_content == [(each, "encrypted") for each in expected]


def test_rar5_without_the_value_that_checks_a_password() -> None:
    content = rar5_locked(b"a.txt", TEXT, "sesam", checkable=False)
    assert unpack(content, ("sesam",)).found == {"a.txt": TEXT}
    assert unpack(content).without_content == [("a.txt", "encrypted")]


def test_rar5_whose_key_takes_too_long_is_not_tried() -> None:
    content = rar5_locked(b"a.txt", TEXT, "sesam").replace(b"\1\0\1\x0f", b"\1\0\1\x18")
    assert not unpack(content, ("sesam",), only=Rar()).found


def test_rar4_that_is_too_large_to_try_a_password_on_stays_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else tells a right password from a wrong one, which would make other bytes of it."""
    monkeypatch.setattr(openers.rar4, "_TRIED", 10)
    sink = unpack(sample("rar4-locked.rar"), ("12345678",))
    assert not sink.found
    assert sink.without_content == [("foo.txt", "encrypted"), ("bar.txt", "encrypted")]
    assert unpack(sample("rar4-names-locked.rar"), ("12345678",)).found == OF_RAR4


def test_the_cipher_of_rar2_is_not_known() -> None:
    sink = unpack(sample("rar2-locked.rar"), ("password",))
    assert not sink.found
    assert sink.without_content == [("FILE1.TXT", "encrypted"), ("FILE2.TXT", "encrypted")]


def test_a_solid_rar4_is_not_clean() -> None:
    sink = unpack(sample("rar4-solid.rar"))
    assert sink.found == {"stest1.txt": LINES}
    assert sink.troubles


def test_compressed_rar() -> None:
    assert unpack(sample("rar4-compressed.rar")).found == {"stest1.txt": LINES}
    ((name, content),) = unpack(sample("rar5-compressed.rar")).found.items()
    assert (name, len(content)) == ("test.bin", 1200)


@pytest.mark.parametrize("content", [rar4(b"a.txt", TEXT), rar5(b"a.txt", TEXT)], ids=["rar4", "rar5"])
def test_what_is_not_encrypted_is_left_to_libarchive(content: bytes) -> None:
    sink = unpack(content, ("password",), only=Rar())
    assert (sink.members, sink.errors, sink.troubles, sink.without_content) == ([], [], [], [])


@pytest.mark.parametrize("name", ["rar4", "rar5"])
@pytest.mark.parametrize("part", [3, 5, 7, 9])
def test_cut_off_it_is_not_clean(name: str, part: int) -> None:
    content, password, expected = LOCKED[name]
    sink = unpack(content[: len(content) * part // 10], (password,))
    assert sink.found != expected
    assert sink.errors or sink.troubles or sink.without_content


def test_both_files_of_an_arj() -> None:
    assert unpack(arj_locked(b"b.txt", BOTH["b.txt"], b"x" * 40), ("x" * 40,)).found == {"b.txt": BOTH["b.txt"]}
