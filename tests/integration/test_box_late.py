"""What a helper loads by itself, in its box, when it meets one of the few contents that need it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import oletools
import pytest

from contentfilter.unpack.box import Box, BoxSettings
from tests.corpus.images import sample
from tests.fakes.helper import COMMAND
from tests.unit.test_openers_locked import OF_RAR5
from tests.unit.test_signs import AUTORUN, package, rtf_object

OBJECT = rtf_object(b"Package", package("a.exe", b"MZ")[4:])


@dataclass(frozen=True)
class Content:
    """A content to be opened."""

    data: bytes
    path: str = "1"
    names: tuple[str, ...] = ()
    declared_type: str = ""

    def content(self) -> bytes:
        """All of it."""
        return self.data


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    tmp_path.chmod(0o755)
    box = Box(BoxSettings(tmp_path, helpers=1))
    yield box
    await box.close()


@pytest.mark.parametrize(("data", "sign"), [(AUTORUN, "macro-autorun"), (OBJECT, "ole-executable")])
async def test_signs_that_few_contents_have_are_found(box: Box, data: bytes, sign: str) -> None:
    with await box.unpack([Content(data)], len(data)) as found:
        assert sign in {each.name for each in found.signs}
        assert (found.unchecked, found.failed) == ((), "")


async def test_an_archive_with_a_password_is_opened(box: Box) -> None:
    data = sample("rar5-locked.rar")
    with await box.unpack([Content(data)], len(data), ("password",)) as found:
        assert {each.names[0]: each.content() for each in found.members} == OF_RAR5
        assert (found.unchecked, found.failed) == ((), "")


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("mode", "loaded"), [(0o755, False), (0o700, True)])
async def test_what_a_helper_could_not_read_is_loaded_before(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, mode: int, loaded: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=open_directory) as name:
        Path(name).chmod(0o755)
        libraries = Path(name, "our-packages")
        libraries.mkdir()
        module = libraries / "compressed_rtf.py"
        module.write_text("")
        module.chmod(0o644)
        libraries.chmod(mode)
        monkeypatch.setenv("PYTHONPATH", str(libraries))
        box = Box(BoxSettings(Path(name), helpers=1, command=COMMAND))
        try:
            with await box.unpack([Content(b"do:try import compressed_rtf")], 100) as result:
                assert [each.content().decode() for each in result.members] == [f"{loaded} {module}"]
        finally:
            await box.close()


async def test_a_helper_is_not_made_larger_by_what_it_does_not_need(box: Box) -> None:
    """Its memory, beyond that of the libraries' files, with a macro in work and with none."""
    libraries = Path(oletools.__file__)
    if os.geteuid() == 0 and not all(each.stat().st_mode & stat.S_IXOTH for each in libraries.parents):
        pytest.skip("nobody can read the libraries, so they are there from the start")
    sizes = []
    for data in (b"%PDF-1.4\n", AUTORUN):
        (await box.unpack([Content(data)], len(data))).close()
        (helper,) = box._idle
        lines = Path(f"/proc/{helper.pid}/smaps_rollup").read_text().splitlines()
        sizes += [int(line.split()[1]) for line in lines if line.startswith("Anonymous:")]
    assert sizes[1] - sizes[0] > 4_000
