"""Takes what a helper says, and believes none of it: a helper that hostile content has taken over is hostile too.

Whatever breaks the rules of :mod:`contentfilter.unpack.helper` or goes beyond the budget raises NonsenseError.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from contentfilter.unpack.budget import Budget
from contentfilter.unpack.naming import LONGEST_NAME, MOST_CHARACTERS, MOST_NAMES
from contentfilter.unpack.store import LARGE
from contentfilter.unpack.unpacked import Member, Sign, Unpacked
from contentfilter.unpack.wire import NonsenseError, close_all

_PATH: Final = re.compile(r"[0-9.~]{1,200}(?:/[0-9]{1,6}){0,64}")
_TEXT_LENGTH: Final = 200
_MOST_READINGS: Final = 16
_MOST_REMARKS: Final = 5_000
"""Signs and complaints of one message that are kept; more are nonsense."""
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Collector:
    """What one job has brought so far. sources: the paths that were given; size: of the message, in bytes."""

    def __init__(self, budget: Budget, size: int, sources: Collection[str]) -> None:
        self.done = False
        self._bytes_left = budget.room(size)[0]
        self._parts_left = budget.parts
        self._files_left = self._bytes_left // LARGE + 64
        self._containers = set(sources)
        self._files: list[int] = []
        self._members: list[Member] = []
        self._signs: list[Sign] = []
        self._same: dict[str, str] = {}
        self._unchecked: dict[tuple[str, str], None] = {}
        self._exceeded: dict[str, None] = {}
        self._remarks = 0
        self._name_characters_left = MOST_CHARACTERS

    def take(self, values: dict[str, Any], descriptors: tuple[int, ...]) -> None:
        """One packet. The descriptors become ours. Raises NonsenseError."""
        self._files.extend(descriptors)
        self._files_left -= len(descriptors)
        if self._files_left < 0:
            raise NonsenseError("more files than members")
        if "member" in values:
            self._member(values)
            return
        if "also" in values:
            self._further_names(values)
            return
        if "same" in values:
            self._copy(values)
            return
        self._remarks += 1
        if self._remarks > _MOST_REMARKS:
            raise NonsenseError("no end of remarks")
        if "sign" in values:
            self._signs.append(Sign(self._known(values, "sign"), _text(values, "name"), _text(values, "detail")))
        elif "unchecked" in values:
            self._unchecked[self._known(values, "unchecked"), _text(values, "why")] = None
        elif "exceeded" in values:
            self._exceeded[_text(values, "exceeded")] = None
        elif "done" in values:
            self.done = True
        else:
            raise NonsenseError(_text(values, "failed") if "failed" in values else "an unknown word")

    def _copy(self, values: dict[str, Any]) -> None:
        path, first = self._known(values, "same"), self._known(values, "as")
        if path in self._same or first in self._same or path == first:
            raise NonsenseError("a copy of a copy")
        self._same[path] = first

    def _known(self, values: dict[str, Any], key: str) -> str:
        path = values[key]
        if not isinstance(path, str) or path not in self._containers:
            raise NonsenseError("a path that is not known")
        return path

    def _member(self, values: dict[str, Any]) -> None:
        self._parts_left -= 1
        path = values["member"]
        if self._parts_left < 0 or not isinstance(path, str) or path in self._containers or not _PATH.fullmatch(path):
            raise NonsenseError("a member with an impossible path, or too many members")
        parent = path.rpartition("/")[0]
        if parent not in self._containers:
            raise NonsenseError("a member of nothing")
        self._containers.add(path)
        file, offset, size = (_number(values, key) for key in ("file", "offset", "size"))
        if "file" in values:
            self._bytes_left -= size
            if self._bytes_left < 0 or file >= len(self._files):
                raise NonsenseError("a member in no file, or too many bytes")
        names = _texts(values, "names", LONGEST_NAME, MOST_NAMES)
        self._spend(names[1:])
        more_names = values.get("more_names") is True
        if more_names:
            self._unchecked[path, "more names than are told"] = None
        self._members.append(
            Member(
                path,
                parent,
                names,
                _text(values, "declared"),
                _text(values, "type"),
                _texts(values, "readings", _TEXT_LENGTH, _MOST_READINGS),
                _text(values, "why"),
                size,
                self._files[file] if size >= LARGE and offset == 0 else None,
                self._files[file] if "file" in values else -1,
                offset,
                more_names,
            )
        )

    def _further_names(self, values: dict[str, Any]) -> None:
        """Names of the member that was told last."""
        if not self._members or values["also"] != self._members[-1].path:
            raise NonsenseError("names of something else")
        member, names = self._members[-1], _texts(values, "names", LONGEST_NAME, MOST_NAMES)
        if not names or len(member.names) + len(names) > MOST_NAMES:
            raise NonsenseError("too many names, or none")
        self._spend(names)
        self._members[-1] = replace(member, names=member.names + names)

    def _spend(self, names: tuple[str, ...]) -> None:
        self._name_characters_left -= sum(map(len, names))
        if self._name_characters_left < 0:
            raise NonsenseError("no end of names")

    def finish(self, failed: str = "") -> Unpacked:
        """All that was taken, once the helper has written its last byte. Members that are not there are left out."""
        sizes = {descriptor: _sealed_size(descriptor) for descriptor in self._files}
        members = [each for each in self._members if each.shared < 0 or each.offset + each.size <= sizes[each.shared]]
        if len(members) < len(self._members):
            failed = failed or "the helper that opens containers told of contents that it did not give"
        files = tuple(self._files)
        self._files = []
        return Unpacked(
            tuple(members),
            tuple(self._signs),
            tuple(self._unchecked),
            tuple(self._exceeded),
            failed,
            files,
            tuple(self._same.items()),
        )

    def drop(self) -> None:
        """Let go of everything."""
        close_all(tuple(self._files))
        self._files = []


def _sealed_size(descriptor: int) -> int:
    """The size of a memory file that nobody can change any more, -1 for what is none."""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return -1
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        return -1
    return os.fstat(descriptor).st_size


def _number(values: dict[str, Any], key: str) -> int:
    value = values.get(key, 0)
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise NonsenseError(f"{key} that is no number")
    return value


def _text(values: dict[str, Any], key: str) -> str:
    return _checked(values.get(key, ""), _TEXT_LENGTH)


def _texts(values: dict[str, Any], key: str, longest: int, most: int) -> tuple[str, ...]:
    found = values.get(key, [])
    if not isinstance(found, list) or len(found) > most:
        raise NonsenseError(f"{key} that is no list")
    return tuple(_checked(each, longest) for each in found)


def _checked(value: object, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise NonsenseError("a text that is too long, or none")
    return value.encode("utf-8", "replace").decode("utf-8")
