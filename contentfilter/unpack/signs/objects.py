"""Embedded objects: by the class that handles them, and packages, which hold any file at all ([MS-OLEDS] 2.3.6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from contentfilter.unpack.signs.sign import Sign, is_executable, is_executable_name, sign

EQUATION_CLASSES = frozenset({"0002CE02-0000-0000-C000-000000000046", "0002CE03-0000-0000-C000-000000000046"})
_PACKAGES = frozenset({"0003000C-0000-0000-C000-000000000046", "F20DA720-C02F-11CE-927B-0800095AE340"})
_EXPLOITED = {
    "D27CDB6E-AE6D-11CF-96B8-444553540000": "Shockwave Flash",
    "BDD1F04B-858B-11D1-B16A-00C0F0283628": "ListView (CVE-2012-0158)",
    "996BF5E0-8044-4650-ADEB-0B013914E99C": "ListView (CVE-2012-0158)",
    "C74190B6-8589-11D1-B16A-00C0F0283628": "TreeView (CVE-2012-0158)",
    "1EFB6596-857C-11D1-B16A-00C0F0283628": "TabStrip (CVE-2012-1856)",
    "A08A033D-1A75-4AB6-A166-EAD02F547959": "otkloadr (CVE-2015-1641)",
    "06290BD3-48AA-11D2-8432-006008C3FBFC": "Scriptlet (CVE-2017-8570)",
    "06290BD2-48AA-11D2-8432-006008C3FBFC": "Scriptlet (CVE-2017-8570)",
    "ECABB0C7-7F19-11D2-978E-0000F8757E2A": "SOAP Moniker (CVE-2017-8759)",
    "3050F4D8-98B5-11CF-BB82-00AA00BDCE0B": "HTML Application",
    "F414C260-6AC0-11CF-B6D1-00AA00BBBB58": "JScript",
    "B54F3741-5B07-11CF-A4B0-00AA004A55E8": "VBScript",
    "8856F961-340A-11D0-A96B-00C04FD705A2": "Web Browser",
}  # fmt: skip
_LONGEST_NAME = 1024


def signs_of_class(clsid: str) -> Iterator[Sign]:
    """What a class id ("0002CE02-0000-...") that a document names for an object says about it."""
    clsid = clsid.upper()
    if clsid in EQUATION_CLASSES:
        yield sign("equation-editor", clsid)
    elif clsid in _PACKAGES:
        yield sign("ole-package", clsid)
    elif clsid in _EXPLOITED:
        yield sign("ole-exploited-class", _EXPLOITED[clsid])


def signs_of_package(data: bytes) -> Iterator[Sign]:
    """What an OLE package holds. data: the OLENativeStream structure, beginning with its size."""
    if len(data) < 7 or struct.unpack_from("<H", data, 4)[0] != 2:
        # Not a package but the native data of some other OLE 1 object.
        if is_executable(data[4:12]):
            yield sign("ole-executable", "native data")
        return
    label, at = _string(data, 6)
    source, at = _string(data, at)
    temporary, at = _string(data, at + 8)
    content = data[at + 4 : at + 12]
    yield sign("ole-package", label)
    for name in (label, source, temporary):
        if is_executable_name(name):
            yield sign("ole-executable", name)
            return
    if is_executable(content):
        yield sign("ole-executable", label)


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.find(b"\0", at, at + _LONGEST_NAME)
    if end < 0:
        return "", at
    return data[at:end].decode("latin-1"), end + 1
