"""Coverage-guided fuzzing of the MIME parser: whatever the bytes, it gives a tree, within its limits.

    make fuzz SECONDS=600

Begins with the messages of the corpus. atheris comes with `pip install -e '.[fuzz]'`; it has wheels for CPython on
Linux up to the version that it names. A finding is written to the current directory as crash-*.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["contentfilter.mime"]):
    from contentfilter.mime import Limits, parse

from tests.corpus import HOSTILE
from tests.corpus.innocent import INNOCENT

LIMITS = Limits(depth=8, parts=200, readings=8, header_bytes=65536, decoded_bytes=1 << 20, searched_bytes=1 << 22)


def one_input(data: bytes) -> None:
    """The promises of the parser, for these bytes."""
    tree = parse(data, LIMITS)
    assert 1 <= len(tree.parts) <= LIMITS.parts
    paths = [part.path for part in tree.parts]
    assert len(set(paths)) == len(paths)
    known = {""}
    for part in tree.parts:
        assert part.parent in known
        known.add(part.path)
        assert 0 <= part.header.start <= part.start <= part.end <= len(part.buffer)
        assert part.depth <= LIMITS.depth + 1
        assert len(part.content()) == part.size
        assert part.content().startswith(part.head(100))
        assert all(isinstance(name, str) and name.encode() is not None for name in part.names)


def main() -> None:
    """Seed a directory with the corpus, and fuzz for as long as the arguments of libFuzzer say."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


def seed(directory: Path) -> None:
    """Write the corpus, a file a message. Large messages are left out: they make fuzzing slow, not better."""
    builders = {str(case): case.build for case in HOSTILE} | {str(case): case.build for case in INNOCENT}
    for name, build in builders.items():
        message = build()
        if len(message) <= 8192:
            (directory / name.replace("/", "-")).write_bytes(message)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fuzz-") as seeds:
        seed(Path(seeds))
        sys.argv.append(seeds)
        main()
