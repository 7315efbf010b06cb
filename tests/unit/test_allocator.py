"""What large messages took goes back to the system, which it does not by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import ctypes, sys
from pathlib import Path
from contentfilter import allocator

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "give back":
    allocator.give_back()
libc.free(libc.malloc(30_000_000))  # from here on the C library takes blocks of this size from its heap
before = resident()
blocks, pins = [], []
for _ in range(5):
    block = libc.malloc(8_000_000)
    ctypes.memset(block, 1, 8_000_000)
    blocks.append(block)
    pins.append(libc.malloc(5_000))
for block in blocks:
    libc.free(block)
print(resident() - before)
"""


def _kept(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_large_blocks_go_back_to_the_system() -> None:
    assert _kept("give back") < 4_000_000
    assert _kept("as it is") > 20_000_000


LOADED = r"""
import hashlib, re, sys
from pathlib import Path
import contentfilter.worker
from contentfilter import allocator

def of_files():
    text = Path("/proc/self/smaps_rollup").read_text()
    of = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return of["Rss"] - of["Anonymous"]

before = of_files()
allocator.loaded()
after = of_files()
# What was given back is read again where it is used.
import contentfilter.unpack.openers
from contentfilter.filetype import detect
print(before, after, detect(b"%PDF-1.7"), hashlib.sha256(b"x").hexdigest()[:4])
"""


def test_what_only_loading_took_is_given_back_and_works_as_before() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    before, after, *results = done.stdout.split()
    assert int(after) < int(before) / 3
    assert results == ["application/pdf", "2d71"]


WRITTEN_TO = """
import ctypes
from pathlib import Path
from contentfilter import allocator

file = Path("library")
file.write_bytes(bytes(4096))
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
with file.open("rb") as opened:
    place = libc.mmap(None, 4096, 3, 2, opened.fileno(), 0)
ctypes.memmove(place, b"relocated", 9)
assert libc.mprotect(place, 4096, 1) == 0
allocator.loaded()
print(ctypes.string_at(place, 9).decode())
"""


def test_what_the_linker_wrote_into_a_library_stays(tmp_path: Path) -> None:
    """It is mapped as what was never written to: from a file, and not to be written."""
    done = subprocess.run([sys.executable, "-c", WRITTEN_TO], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "relocated\n"
