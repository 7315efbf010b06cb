"""What is loaded before the supervisor makes workers, which then share it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WANTED = """
import sys
from pathlib import Path
from contentfilter import config, serving

before = {name for name in ("selectolax", "olefile", "contentfilter.unpack.signs") if name in sys.modules}
serving.load_wanted(config.load(Path(sys.argv[1])))
print(sorted(before), "selectolax" in sys.modules)
"""


@pytest.mark.parametrize(
    ("kind", "rule", "parses_html"),
    [("", "", False), ("header_checks", "/^Subject: x/ REJECT", False), ("body_checks", "/x/ REJECT", True)],
)
def test_parsers_are_loaded_before_the_fork_where_rules_ask_for_text(
    tmp_path: Path, kind: str, rule: str, parses_html: bool
) -> None:
    (tmp_path / "table").write_text(f"{rule}\n")
    file = tmp_path / "contentfilter.toml"
    file.write_text(f'[rules]\n{kind} = "table"\n' if kind else "")
    done = subprocess.run([sys.executable, "-c", WANTED, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[] {parses_html}"


LOADING = """
import sys
from pathlib import Path
from contentfilter import serving

class User:
    def reads(self, files):
        assert all(isinstance(file, Path) and file.is_file() for file in files)
        return sys.argv[1] == "reads"

before = "sqlalchemy" in sys.modules
serving.load_unreadable(User())
print(before, *(name in sys.modules for name in ("sqlalchemy", "contentfilter.policy.amavis", "selectolax")))
"""


@pytest.mark.parametrize(
    ("user", "loaded"), [("reads", "False False False False"), ("does not", "False True True True")]
)
def test_what_the_user_cannot_read_is_loaded_while_we_are_root(user: str, loaded: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOADING, user], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == loaded
