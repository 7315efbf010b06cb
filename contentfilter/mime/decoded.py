"""What comes out of a decoder, and how its pieces are put together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decoded:
    """Content with its encoding removed.

    defects: what was wrong with the encoding; others: (defect, content) as programs read it that treat it differently;
    names: file names that stand in the encoded data itself; too_costly: oddities beyond a number were not looked at.
    """

    content: bytes
    defects: tuple[str, ...] = ()
    others: tuple[tuple[str, bytes], ...] = ()
    names: tuple[bytes, ...] = ()
    too_costly: bool = False


def different(content: bytes, others: list[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    """The other contents, each once, without those that are the same as the first."""
    seen = {content}
    distinct: list[tuple[str, bytes]] = []
    for name, other in others:
        if other not in seen:
            seen.add(other)
            distinct.append((name, other))
    return tuple(distinct)
