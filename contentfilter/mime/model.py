"""What a message was decomposed into."""

from __future__ import annotations

from dataclasses import dataclass, replace

from contentfilter.message import Buffer
from contentfilter.mime.fields import Header


@dataclass(frozen=True, slots=True)
class Limits:
    """How much work one message may cause. What lies beyond a limit is named in :attr:`Tree.exceeded`.

    depth: levels below the root; parts: nodes of the tree, all readings together; readings: ambiguous places that are
    read in a further way; header_bytes: bytes of all headers together; fields: lines of one header; parameters: of one
    field, and names of one part; decoded_bytes: what may be in memory besides the message, decoded bodies in every
    reading, files out of texts and converted line ends together, and never more than one and a half times the message
    and 16 MB; searched_bytes: what is searched for delimiters, where every level of nesting searches its part of the
    message again; seconds: of CPU time, after which no body is decoded or searched any more. Ordinary mail takes five
    milliseconds a megabyte.
    """

    depth: int = 16
    parts: int = 3000
    readings: int = 100
    header_bytes: int = 1024 * 1024
    fields: int = 2000
    parameters: int = 200
    decoded_bytes: int = 256 * 1024 * 1024
    searched_bytes: int = 512 * 1024 * 1024
    seconds: float = 5.0


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """A place that mail programs read in different ways.

    name: which kind of place ("repeated-content-type"); path: the part it is in; offset: into that part's buffer.
    """

    name: str
    path: str
    offset: int


@dataclass(frozen=True, slots=True)
class Part:
    """One node of the tree: a MIME entity (RFC 2045), or a message attached to one.

    path: "1" is the root, "1.2" its second child; "1.2~2" is the second reading of the same bytes. An attached message
    is the only child of its message/rfc822 part. parent: the parent's path, "" for the root.
    buffer: the bytes the part lies in, the raw message or the decoded content of a part above; header and the body's
    start and end are offsets into it.
    declared_type: "text/plain", lower case, the default type where none is declared; parameters: of Content-Type, with
    lower-case names; charset: lower case, "" if not declared; encoding: Content-Transfer-Encoding, lower case;
    disposition: "attachment", "inline" or "".
    names: every file name that the part bears anywhere, decoded to Unicode.
    readings: the ambiguities that must be read the other way for this part to exist; () is the straight reading.
    decoded: the content where an encoding was removed, else None.
    """

    path: str
    parent: str
    depth: int
    buffer: Buffer
    header: Header
    start: int
    end: int
    declared_type: str
    charset: str = ""
    encoding: str = "7bit"
    disposition: str = ""
    names: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()
    is_leaf: bool = True
    decoded: bytes | None = None

    def content(self) -> bytes:
        """The content with its transfer encoding removed."""
        return self.buffer[self.start : self.end] if self.decoded is None else self.decoded

    def head(self, size: int) -> bytes:
        """The first bytes of the content, at most size of them, without copying the rest."""
        if self.decoded is not None:
            return self.decoded[:size]
        return self.buffer[self.start : min(self.end, self.start + size)]

    @property
    def size(self) -> int:
        """Length of the content in bytes."""
        return self.end - self.start if self.decoded is None else len(self.decoded)

    @property
    def detected_type(self) -> str:
        """Nobody has looked yet."""
        return ""

    @property
    def descriptor(self) -> int | None:
        """It lies in the message, in no file of its own."""
        return None

    @property
    def name(self) -> str:
        """The first file name, "" if there is none."""
        return self.names[0] if self.names else ""


@dataclass(frozen=True, slots=True)
class Tree:
    """A decomposed message.

    parts: in preorder, the root first; exceeded: names of the limits that cut it short; unchecked: what cannot be
    looked into although all of it was read, as (declared type, path): pieces of a message whose rest comes by another
    way (message/partial), and contents that are fetched from elsewhere (message/external-body).
    """

    parts: tuple[Part, ...]
    ambiguities: tuple[Ambiguity, ...] = ()
    exceeded: tuple[str, ...] = ()
    unchecked: tuple[tuple[str, str], ...] = ()

    @property
    def root(self) -> Part:
        """The message itself."""
        return self.parts[0]

    @property
    def header(self) -> Header:
        """The header of the message."""
        return self.parts[0].header

    @property
    def top(self) -> Tree:
        """The root alone, without its content: what is left to do when nobody looks at contents any more."""
        return Tree((replace(self.root, decoded=None),))

    @property
    def leaves(self) -> tuple[Part, ...]:
        """The parts that hold content rather than other parts."""
        return tuple(part for part in self.parts if part.is_leaf)
