"""What is made ready once for many helpers confines each as if it had been made for that one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LATER = """
import os, sys
from pathlib import Path
from contentfilter.unpack import confine

def tried(action, *arguments):
    try:
        action(*arguments)
    except PermissionError:
        return "denied"
    return "done"

home = Path(sys.argv[1])
gone, changed, stays, here, outside = (home / name for name in ("gone", "changed", "stays", "here", "outside"))
files = confine.files([gone, changed, stays])
if files.missing:
    sys.exit(f"no Landlock here: {files.missing[0]}")
gone.rmdir()
changed.rmdir()
changed.write_text("no directory any more, of which the kernel takes no rule for one")
os.chdir(here)
problem = files.only(Path())
print(
    problem or "none",
    tried(os.listdir, stays), tried((stays / "new").write_text, ""), tried(Path("new").write_text, ""),
    tried(os.listdir, outside), tried(os.listdir, "/"), tried(changed.read_text),
)
"""


def test_what_changed_since_the_rules_were_made_is_not_seen_and_all_else_is_as_it_should(tmp_path: Path) -> None:
    for name in ("gone", "changed", "stays", "here", "outside"):
        (tmp_path / name).mkdir()
    done = subprocess.run([sys.executable, "-c", LATER, str(tmp_path)], capture_output=True, text=True, check=False)
    if "no Landlock here" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stderr == ""
    assert done.stdout.split() == ["none", "done", "denied", "done", "denied", "denied", "denied"]
