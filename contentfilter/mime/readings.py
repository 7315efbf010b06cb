"""The ways in which one header can be understood: which Content-Type counts, which boundary, which encoding."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from contentfilter.message import Buffer
from contentfilter.mime.charset import decode_unlabelled
from contentfilter.mime.encodings import DECODERS, IDENTITIES, encodings_of, looks_like
from contentfilter.mime.fields import Field, Header
from contentfilter.mime.parameters import Parameter, parameters, texts, without_comments
from contentfilter.mime.variants import STRUCTURAL, variants
from contentfilter.mime.words import decode_words
from contentfilter.search import find

# content := "Content-Type" ":" type "/" subtype *(";" parameter) (RFC 2045 section 5.1), blanks allowed anywhere.
_TYPE = re.compile(rb"""[\s"']*([A-Za-z0-9!#$&^_.+-]{1,127})\s*/\s*([A-Za-z0-9!#$&^_.+-]{1,127})["']?\s*""")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_MOST_BOUNDARIES = 5
_PLAUSIBLE = ("base64", "quoted-printable")


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


def understand(buffer: Buffer, header: Header, end: int, default_type: str, parameter_limit: int) -> Understood:
    """Every plausible reading of a header. default_type: where none is declared (RFC 2045 section 5.2)."""
    result = Understood()
    reader = _Reader(result, buffer, end, default_type, parameter_limit)
    reader.read(header, "")
    for name, offset, variant in variants(buffer, header):
        result.notes[name] = offset
        reader.read(variant, name)
    return result


class _Reader:
    """Collects the readings of one header and its variants, each once."""

    def __init__(self, result: Understood, buffer: Buffer, end: int, default_type: str, parameter_limit: int) -> None:
        self._result = result
        self._buffer = buffer
        self._end = end
        self._default_type = default_type
        self._limit = parameter_limit
        self._seen: set[tuple[object, ...]] = set()

    def read(self, header: Header, name: str) -> None:
        """Every way to understand this header. name: the ambiguity it comes from, "" for the straight one."""
        for key in ("content-type", "content-transfer-encoding", "content-disposition", "mime-version"):
            found = header.all(key)
            if len(found) > 1 and len({each.value.lower() for each in found}) > 1:
                self._result.notes[f"repeated-{key}"] = found[1].start
        types = self._content_types(header)
        encodings = self._encodings(header)
        for (type_name, content_type), (encoding_name, encoding) in itertools.product(types, encodings):
            ambiguities = tuple(dict.fromkeys(each for each in (name, type_name, encoding_name) if each))
            self._add(Reading(header, content_type, encoding, ambiguities))

    def _add(self, reading: Reading) -> None:
        content_type = reading.content_type
        # The names are those of the whole header: only a variant can have others.
        fields = tuple(each.raw for each in reading.header.fields if each.key in STRUCTURAL)
        encoding = reading.encoding if reading.encoding in DECODERS else ""
        same = (reading.header.body_start, content_type, encoding, fields)
        if same not in self._seen:
            self._seen.add(same)
            self._result.readings.append(reading)

    def _content_types(self, header: Header) -> list[tuple[str, ContentType]]:
        """The first field's type and the last one's, each with every boundary it can mean."""
        fields = header.all("content-type")
        if not fields:
            return [("", ContentType(self._default_type))]
        found = self._declared(fields[0], header)
        if fields[-1].value != fields[0].value:
            found += [(name or "repeated-content-type", each) for name, each in self._declared(fields[-1], header)]
        return found

    def _declared(self, declared: Field, header: Header) -> list[tuple[str, ContentType]]:
        """What one Content-Type can mean."""
        value = declared.value
        found = self._in_value(declared, value, header)
        if b"=?" in value:
            decoded = self._in_value(declared, decode_words(value).encode("utf-8", "replace"), header)[0][1]
            if all((each.name, each.boundary) != (decoded.name, decoded.boundary) for _, each in found):
                self._result.notes["encoded-content-type"] = declared.start
                found.append(("encoded-content-type", decoded))
        return found

    def _in_value(self, declared: Field, value: bytes, header: Header) -> list[tuple[str, ContentType]]:
        bare = without_comments(value) if b"(" in value else value
        match = _TYPE.match(bare)
        name = self._default_type if match is None else f"{match[1].decode('ascii')}/{match[2].decode('ascii')}".lower()
        found = parameters(value, self._limit)
        if match is None or bare[match.end() : match.end() + 1] not in {b"", b";"}:
            self._result.notes["malformed-content-type"] = declared.start
            found += parameters(b";" + bare[match.end() :], self._limit) if match else ()
        is_multipart = name.startswith("multipart/")
        if not is_multipart and not any(each.name.startswith("boundary") for each in found):
            return [("", ContentType(name, found))]
        ways = self._ways(declared, bare, found)
        if is_multipart:
            return [(way, ContentType(name, found, each)) for way, each in ways] or [("", ContentType(name, found))]
        used = [boundary for _, boundary in ways if boundary and self._is_used(boundary, header)][:1]
        if used:
            self._result.notes["leaf-type-on-multipart"] = declared.start
        multipart = [("leaf-type-on-multipart", ContentType("multipart/mixed", found, each)) for each in used]
        return [("", ContentType(name, found)), *multipart]

    def _is_used(self, boundary: bytes, header: Header) -> bool:
        return find(self._buffer, b"--" + boundary, header.body_start, self._end) >= 0

    def _ways(self, declared: Field, bare: bytes, found: tuple[Parameter, ...]) -> list[tuple[str, bytes]]:
        """Every boundary, each once, the likeliest first."""
        boundaries = _boundaries(found)
        if b"(" in declared.value:
            commented = [("commented-boundary", boundary) for _, boundary in boundaries]
            boundaries = _boundaries(parameters(bare, self._limit)) + commented
        if b"\n" in declared.raw:
            joined = _boundaries(parameters(_FOLD.sub(b"", declared.raw), self._limit))
            boundaries += [("folded-boundary", boundary) for _, boundary in joined]
        distinct: dict[bytes, str] = {}
        for way, boundary in boundaries:
            distinct.setdefault(boundary, way)
        if b"" in distinct:
            self._result.notes["empty-boundary"] = declared.start
        ways = list(distinct.items())[:_MOST_BOUNDARIES]
        self._result.notes.update({way: declared.start for _, way in ways if way})
        return [("" if number == 0 else way, boundary) for number, (boundary, way) in enumerate(ways)]

    def _encodings(self, header: Header) -> list[tuple[str, str]]:
        """The first field's encoding and the last one's, and what else a malformed one may be meant for."""
        fields = header.all("content-transfer-encoding")
        if not fields:
            return [("", "7bit")]
        ways: dict[str, tuple[str, str]] = {}
        for way, declared in (("", fields[0]), ("repeated-content-transfer-encoding", fields[-1])):
            name, meant = self._meant(declared, header)
            before = len(ways)
            for number, encoding in enumerate(meant):
                other = name if number else ""
                ways.setdefault(encoding if encoding in DECODERS else "", (way or other, encoding))
            if name and (len(ways) > before + 1 or not (meant[0] in DECODERS or meant[0] in IDENTITIES)):
                self._result.notes[name] = declared.start
        return list(ways.values())

    def _meant(self, declared: Field, header: Header) -> tuple[str, list[str]]:
        """The ambiguity in one Content-Transfer-Encoding, "" if there is none, and what it can mean."""
        value = declared.value
        found, proper = encodings_of(without_comments(value) if b"(" in value else value)
        if b"(" in value:
            # Who does not know comments reads the first word, or knows no such encoding.
            found += [*encodings_of(value.partition(b"(")[0])[0], *encodings_of(value)[0]]
            return "commented-content-transfer-encoding", found
        if proper:
            return "", found
        if found[0] not in DECODERS and found[0] not in IDENTITIES:
            found += [each for each in _PLAUSIBLE if looks_like(each, self._buffer, header.body_start, self._end)]
        return "malformed-content-transfer-encoding", found


def _boundaries(found: tuple[Parameter, ...]) -> list[tuple[str, bytes]]:
    """Every boundary that these parameters can mean, the likeliest first, with the ambiguity that leads to it."""
    boundaries: list[tuple[str, bytes]] = []
    others: list[tuple[str, bytes]] = []
    plain = [each for each in found if each.name == "boundary"]
    for number, each in enumerate(plain):
        # A boundary does not end in a blank, and without quotes holds none (RFC 2046 section 5.1.1).
        value = each.value.rstrip() if each.quoted else each.value.partition(b" ")[0]
        boundaries.append(("repeated-boundary" if number else "", value))
        if each.verbatim.rstrip() != value:
            boundaries.append(("escaped-boundary" if each.quoted else "blank-in-boundary", each.verbatim.rstrip()))
        if value[:1].isspace():
            others.append(("blank-in-boundary", value.strip()))
        if value[:1] in {b"'", b'"'} or value[-1:] in {b"'", b'"'}:
            others.append(("quoted-boundary", value.strip(b"'\"")))
        if not each.quoted and b'"' in value.strip(b'"'):
            others.append(("quoted-boundary", value.replace(b'"', b"")))
        if b"=?" in value:
            others.append(("encoded-boundary", decode_words(value).encode("utf-8", "replace")))
    if any(each.name.startswith("boundary*") for each in found):
        boundaries += [("extended-boundary", text.encode().rstrip()) for text in texts(found, "boundary")]
    return boundaries + others


def disposition_of(header: Header) -> str:
    """The first Content-Disposition's type, lower case, "" without one (RFC 2183 section 2.1)."""
    declared = header.get("content-disposition")
    return "" if declared is None else declared.value.partition(b";")[0].strip().decode("ascii", "replace").lower()


def ignores_mime(header: Header) -> str:
    """Why a program may take this message for one from before MIME (RFC 2045 section 4); "" if there is no reason.

    The name of the ambiguity. Without any field of MIME there is nothing to be ignored.
    """
    if header.get("content-type") is None and header.get("content-transfer-encoding") is None:
        return ""
    versions = [without_comments(each.value).strip() for each in header.all("mime-version")]
    if not versions:
        return "missing-mime-version"
    return "" if all(each == b"1.0" for each in versions) else "odd-mime-version"
