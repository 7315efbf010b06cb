"""Writes small compound files (MS-CFB 3), as no free library writes them."""

from __future__ import annotations

import struct

SECTOR, MINI, CUTOFF = 512, 64, 4096
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD

Path = tuple[str, ...]


def compound_file(streams: dict[Path, bytes], clsid: bytes = bytes(16)) -> bytes:
    """A file of these streams; the storages on their paths are made as needed."""
    sectors: list[bytes] = []
    chain: list[int] = []
    mini, mini_chain = bytearray(), []

    def place(data: bytes) -> int:
        count = -(-len(data) // SECTOR)
        if not count:
            return _END
        start = len(sectors)
        sectors.extend(data[at : at + SECTOR].ljust(SECTOR, b"\0") for at in range(0, len(data), SECTOR))
        chain.extend([*range(start + 1, start + count), _END])
        return start

    def place_mini(data: bytes) -> int:
        count = -(-len(data) // MINI)
        if not count:
            return _END
        start = len(mini) // MINI
        mini.extend(data.ljust(count * MINI, b"\0"))
        mini_chain.extend([*range(start + 1, start + count), _END])
        return start

    storages = {()} | {path[:depth] for path in streams for depth in range(1, len(path))}
    order: list[Path] = [(), *sorted((storages | set(streams)) - {()})]
    children = {storage: [path for path in order if path and path[:-1] == storage] for storage in storages}
    starts = {path: (place if len(data) >= CUTOFF else place_mini)(data) for path, data in streams.items()}
    root_start = place(bytes(mini))
    entries = bytearray()
    for path in order:
        siblings = children[path[:-1]] if path else [path]
        following = siblings[siblings.index(path) + 1 :]
        child = children.get(path, [])
        name = ((path[-1] if path else "Root Entry") + "\0").encode("utf-16-le")
        size = len(streams[path]) if path in streams else len(mini) if not path else 0
        entries += struct.pack(
            "<64sHBBLLL16sL16sLQ", name, len(name), 2 if path in streams else 1 if path else 5, 1, _FREE,
            order.index(following[0]) if following else _FREE, order.index(child[0]) if child else _FREE,
            clsid if not path else bytes(16), 0, bytes(16), starts.get(path, 0 if path else root_start), size,
        )  # fmt: skip
    entries += bytes(-len(entries) % SECTOR)
    directory = place(bytes(entries))
    mini_fat = place(
        struct.pack(f"<{len(mini_chain)}L", *mini_chain).ljust(-(-len(mini_chain) * 4 // SECTOR) * SECTOR, b"\xff")
    )
    fat_count = 1
    while (len(chain) + fat_count) * 4 > fat_count * SECTOR:
        fat_count += 1
    fat_places = range(len(sectors), len(sectors) + fat_count)
    table = [*chain, *[_FAT] * fat_count]
    packed = struct.pack(f"<{len(table)}L", *table).ljust(fat_count * SECTOR, b"\xff")
    sectors.extend(packed[at : at + SECTOR] for at in range(0, len(packed), SECTOR))
    header = struct.pack(
        "<8s16sHHHHH6sLLLLLLLLLL", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6, bytes(6), 0,
        fat_count, directory, 0, CUTOFF, mini_fat, -(-len(mini_chain) * 4 // SECTOR), _END, 0, fat_places[0],
    )  # fmt: skip
    header += struct.pack(f"<{fat_count - 1}L", *fat_places[1:])
    return header.ljust(SECTOR, b"\xff") + b"".join(sectors)
