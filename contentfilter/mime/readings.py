"""The ways in which one header can be understood: which Content-Type counts, which boundary, which encoding."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from contentfilter.mime.charset import decode_unlabelled
from contentfilter.mime.encodings import encoding_of
from contentfilter.mime.fields import Field, Header
from contentfilter.mime.parameters import Parameter, parameters, texts, without_comments

# content := "Content-Type" ":" type "/" subtype *(";" parameter) (RFC 2045 section 5.1), blanks allowed anywhere.
_TYPE = re.compile(rb"""[\s"']*([A-Za-z0-9!#$&^_.+-]{1,127})\s*/\s*([A-Za-z0-9!#$&^_.+-]{1,127})["']?\s*""")
_MOST_BOUNDARIES = 3


@dataclass(frozen=True, slots=True)
class ContentType:
    """A Content-Type with one of its boundaries."""

    name: str
    parameters: tuple[Parameter, ...] = ()
    boundary: bytes | None = None

    def text(self, parameter: str) -> str:
        """The first value of a parameter, "" if there is none."""
        found = next((each for each in self.parameters if each.name == parameter), None)
        return "" if found is None else decode_unlabelled(found.value)


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to understand a header. ambiguities: those that were read the other way, () in the straight reading."""

    header: Header
    content_type: ContentType
    encoding: str
    ambiguities: tuple[str, ...] = ()


@dataclass(slots=True)
class Understood:
    """All readings of a header, the straight one first, and the ambiguities in it: name and offset."""

    readings: list[Reading] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)


def understand(header: Header, default_type: str, parameter_limit: int) -> Understood:
    """Every plausible reading of a header. default_type: where none is declared (RFC 2045 section 5.2)."""
    result = Understood()
    _read(result, header, "", default_type, parameter_limit)
    defect = _end_for_some(header)
    if defect is not None:
        result.notes["header-defect"] = defect
        _read(result, header.cut(defect), "header-defect", default_type, parameter_limit)
    return result


def _end_for_some(header: Header) -> int | None:
    """Where the body begins for programs that end the header at the first line that is no field."""
    return next((defect.start for defect in header.defects if not defect.mbox), None)


def _read(result: Understood, header: Header, name: str, default_type: str, parameter_limit: int) -> None:
    fields = {key: header.all(key) for key in ("content-type", "content-transfer-encoding", "content-disposition")}
    for key, found in fields.items():
        if len(found) > 1 and len({each.value.lower() for each in found}) > 1:
            result.notes[f"repeated-{key}"] = found[1].start
    types = _content_types(fields["content-type"], default_type, parameter_limit, result.notes)
    encodings = _encodings(fields["content-transfer-encoding"], result.notes)
    for (type_name, content_type), (encoding_name, encoding) in itertools.product(types, encodings):
        ambiguities = tuple(each for each in (name, type_name, encoding_name) if each)
        result.readings.append(Reading(header, content_type, encoding, ambiguities))


def _content_types(
    fields: tuple[Field, ...], default_type: str, parameter_limit: int, notes: dict[str, int]
) -> list[tuple[str, ContentType]]:
    """The first field's type and the last one's, each with every boundary it can mean."""
    if not fields:
        return [("", ContentType(default_type))]
    found = _with_boundaries(fields[0], default_type, parameter_limit, notes)
    if fields[-1].value != fields[0].value:
        last = _with_boundaries(fields[-1], default_type, parameter_limit, notes)
        found += [(name or "repeated-content-type", content_type) for name, content_type in last]
    return found


def _with_boundaries(
    declared: Field, default_type: str, parameter_limit: int, notes: dict[str, int]
) -> list[tuple[str, ContentType]]:
    value = declared.value
    bare = without_comments(value) if b"(" in value else value
    match = _TYPE.match(bare)
    name = default_type if match is None else f"{match[1].decode('ascii')}/{match[2].decode('ascii')}".lower()
    found = parameters(value, parameter_limit)
    if match is None or bare[match.end() : match.end() + 1] not in {b"", b";"}:
        notes["malformed-content-type"] = declared.start
        found += parameters(b";" + bare[match.end() :], parameter_limit) if match else ()
    if not name.startswith("multipart/"):
        return [("", ContentType(name, found))]
    boundaries = _boundaries(found)
    if bare is not value:
        commented = [("commented-boundary", boundary) for _, boundary in boundaries]
        boundaries = _boundaries(parameters(bare, parameter_limit)) + commented
    distinct: dict[bytes, str] = {}
    for way, boundary in boundaries:
        distinct.setdefault(boundary, way)
    notes.update({way: declared.start for way in distinct.values() if way})
    ways = list(distinct.items())[:_MOST_BOUNDARIES]
    straight = [("" if number == 0 else way, boundary) for number, (boundary, way) in enumerate(ways)]
    return [(way, ContentType(name, found, boundary)) for way, boundary in straight] or [("", ContentType(name, found))]


def _boundaries(found: tuple[Parameter, ...]) -> list[tuple[str, bytes]]:
    """Every boundary that these parameters can mean, the likeliest first, with the ambiguity that leads to it."""
    boundaries: list[tuple[str, bytes]] = []
    plain = [each for each in found if each.name == "boundary"]
    for number, each in enumerate(plain):
        # A boundary does not end in a blank, and without quotes holds none (RFC 2046 section 5.1.1).
        value = each.value.rstrip() if each.quoted else each.value.partition(b" ")[0]
        boundaries.append(("repeated-boundary" if number else "", value))
        if each.verbatim.rstrip() != value:
            boundaries.append(("escaped-boundary" if each.quoted else "blank-in-boundary", each.verbatim.rstrip()))
    if any(each.name.startswith("boundary*") for each in found):
        boundaries += [("extended-boundary", text.encode().rstrip()) for text in texts(found, "boundary")]
    return boundaries


def _encodings(fields: tuple[Field, ...], notes: dict[str, int]) -> list[tuple[str, str]]:
    """The first field's encoding and the last one's; an unknown one also as what it may have been meant for."""
    if not fields:
        return [("", "7bit")]
    ways: dict[str, str] = {}
    for way, declared in (("", fields[0]), ("repeated-content-transfer-encoding", fields[-1])):
        value = declared.value
        encoding, proper = encoding_of(without_comments(value) if b"(" in value else value)
        ways.setdefault(encoding, way)
        if not proper:
            notes["malformed-content-transfer-encoding"] = declared.start
            for known, hint in (("base64", "64"), ("quoted-printable", "print")):
                if hint in encoding:
                    ways.setdefault(known, way or "malformed-content-transfer-encoding")
    return [(way, encoding) for encoding, way in ways.items()]


def disposition_of(header: Header) -> str:
    """The first Content-Disposition's type, lower case, "" without one (RFC 2183 section 2.1)."""
    declared = header.get("content-disposition")
    return "" if declared is None else declared.value.partition(b";")[0].strip().decode("ascii", "replace").lower()
