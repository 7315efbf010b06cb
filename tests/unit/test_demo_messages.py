from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import magic

from contentfilter.inspectors.clamd import EICAR
from demo.messages import scenes

ROOT = Path(__file__).parents[2]
SOURCES = [*ROOT.glob("demo/**/*.py"), *ROOT.glob("contentfilter/**/*.py"), *ROOT.glob("tests/**/*.py")]


def attachments(title: str) -> list[bytes]:
    (scene,) = (scene for scene in scenes() if scene.title == title)
    return [part.get_payload(decode=True) for part in scene.message.iter_attachments()]  # type: ignore[misc]  # bytes: decoded


def test_no_file_of_ours_trips_a_scanner() -> None:
    gtube = b"*GTUBE*" + b"STANDARD-ANTI-UBE-TEST-EMAIL" + b"*"
    assert SOURCES
    assert [file for file in SOURCES if EICAR in file.read_bytes() or gtube in file.read_bytes()] == []


def test_the_attachments_are_what_they_seem_to_be() -> None:
    (pdf,) = attachments("HTML with a PDF")
    (archive,) = attachments("virus (EICAR) in a zip")
    (program,) = attachments("a Windows program")
    assert magic.from_buffer(pdf, mime=True) == "application/pdf"
    assert zipfile.ZipFile(BytesIO(archive)).read("photo.txt") == EICAR
    assert magic.from_buffer(program).startswith("PE32+ executable")
