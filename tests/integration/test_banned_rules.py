"""Banned rules over real containers, opened in the real box, and two recipients with rules of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contentfilter import config
from contentfilter.inspectors.banned import BannedInspector
from contentfilter.policy.settings import Policy
from contentfilter.unpack.box import Box, BoxSettings
from contentfilter.verdict import Action
from tests.corpus.building import CRLF, PROGRAM, TEXT, attached, letter
from tests.corpus.formats import Entry, encrypted_entry, libarchive_file, vba_project, zip_file, zip_of
from tests.journey import journey

SETS = """
    [banned.set.engineers]
    rules = [
        {action = "allow", extensions = ["exe"], inside = ["zip"]},
        {action = "allow", extensions = ["js"], inside = ["jar"]},
        {action = "allow", extensions = ["jar"]},
    ]
    [banned.set.no-encryption]
    text = "Encrypted archives go to the accounts department only."
    rules = [{action = "deny", encrypted = true}]
    [banned.set.no-macros]
    rules = [{action = "deny", signs = ["macro"]}]
    [banned.set.own-macros]
    rules = [{action = "allow", signs = ["macro"], inside = ["docm"]}]
"""
REJECT = {"banned_action": Action.REJECT, "banned_quarantine": False, "unchecked_action": Action.PASS}
PEOPLE = {
    "alice": Policy(**REJECT),
    "engineer": Policy(**REJECT, banned_rules=("engineers", "default")),
    "staff": Policy(**REJECT, banned_rules=("default", "no-encryption", "no-macros")),
    "office": Policy(**REJECT, banned_rules=("own-macros", "no-macros", "default")),
    "everything": Policy(**REJECT, banned_rules=()),
    "typo": Policy(**REJECT, banned_rules=("enginers", "default")),
}


@pytest.fixture
async def box(open_directory: Path) -> AsyncIterator[Box]:
    box = Box(BoxSettings(open_directory, helpers=1))
    yield box
    await box.close()


def mail(*attachments: tuple[bytes, str]) -> bytes:
    """A letter with these attachments: content and name."""
    parts = [attached(content, name.encode(), b"application/octet-stream") for content, name in attachments]
    body = b"".join(b"--b" + CRLF + part + CRLF for part in parts) + b"--b--" + CRLF
    return letter(b"Content-Type: multipart/mixed; boundary=b\r\n", body)


EXE_IN_ZIP = zip_file({"setup.exe": PROGRAM})
DOCM = zip_file({
    "[Content_Types].xml": b"<?xml version='1.0'?><Types/>",
    "word/document.xml": b"<?xml version='1.0'?><w/>",
    "word/vbaProject.bin": vba_project(b'Sub Hello()\r\nMsgBox "Hello"\r\nEnd Sub\r\n'),
})  # fmt: skip

OUTCOMES = {
    "program in a zip": (mail((EXE_IN_ZIP, "a.zip")), {"engineer": "250", "alice": "554", "everything": "250"}),
    "program": (mail((PROGRAM, "setup.exe")), {"engineer": "554", "alice": "554"}),
    "program called text, in a zip": (
        mail((zip_file({"a.txt": PROGRAM}), "a.zip")), {"engineer": "554", "alice": "554"},
    ),
    "program in a zip in a zip": (
        mail((zip_file({"b.zip": EXE_IN_ZIP}), "a.zip")), {"engineer": "250", "alice": "554"},
    ),
    "program in a tar in a zip": (
        mail((zip_file({"b.tar": libarchive_file("gnutar", {"setup.exe": PROGRAM})}), "a.zip")), {"engineer": "554"},
    ),
    "script in a jar": (mail((zip_file({"a.js": TEXT}), "a.jar")), {"engineer": "250", "alice": "554"}),
    "script in what is called a jar": (
        mail((libarchive_file("7zip", {"a.js": TEXT}), "a.jar")), {"engineer": "554"},
    ),
    "script in a zip called a jar elsewhere": (
        mail((zip_file({"a.js": TEXT}), "a.jar"), (zip_file({"a.js": TEXT}), "a.zip")), {"engineer": "554"},
    ),
    "the same, the other way round": (
        mail((zip_file({"a.js": TEXT}), "a.zip"), (zip_file({"a.js": TEXT}), "a.jar")), {"engineer": "554"},
    ),
    "two names for one member": (
        mail((zip_of(Entry(b"a.scr", PROGRAM, local_name=b"a.exe")), "a.zip")), {"engineer": "554"},
    ),
    "encrypted": (
        mail((zip_of(encrypted_entry(b"a.txt", TEXT, b"8vkEq1")), "a.zip")),
        {"alice": "250", "staff": "554", "engineer": "250"},
    ),
    "encrypted program, by name": (
        mail((zip_of(encrypted_entry(b"a.scr", TEXT, b"8vkEq1")), "a.zip")), {"alice": "554", "engineer": "554"},
    ),
    "macro": (mail((DOCM, "a.docm")), {"alice": "250", "staff": "554", "office": "250"}),
    "macro in a document called otherwise": (mail((DOCM, "a.docx")), {"staff": "554", "office": "554"}),
    "macro and its copy": (mail((DOCM, "a.docm"), (DOCM, "a.dat")), {"staff": "554", "office": "554"}),
    "a set that there is not": (mail((TEXT, "a.txt")), {"typo": "451", "engineer": "250", "staff": "250"}),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "replies"), OUTCOMES.values(), ids=OUTCOMES.keys())
async def test_each_recipient_has_an_outcome_of_his_own(
    raw: bytes, replies: dict[str, str], box: Box, tmp_path: Path
) -> None:
    inspector = BannedInspector(config.parse(SETS, "test").banned.sets)
    async with journey(tmp_path, inspectors=[inspector], box=box, own=PEOPLE) as it:
        answers = await it.lmtp(*replies, content=raw)
        assert {name: answer[:3] for name, answer in zip(replies, answers, strict=True)} == replies
        assert it.delivered() == {name for name, code in replies.items() if code == "250"}
