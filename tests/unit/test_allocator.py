"""What large messages took goes back to the system, which it does not by itself."""

from __future__ import annotations

import subprocess
import sys

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
