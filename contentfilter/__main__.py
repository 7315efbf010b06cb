"""The command `contentfilter`, also as `python -m contentfilter`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from contentfilter import output
from quarantine.durable import UMASK


def main() -> None:
    """Run it. `serve`, as a service manager says it, is understood without the other commands and what they load."""
    match sys.argv[1:]:
        case ["serve"]:
            _serve(None)
        case ["serve", "--config", file] if not Path(file).is_dir():
            _serve(Path(file))
        case _:
            from contentfilter import cli  # noqa: PLC0415 - the daemon would keep it in memory

            cli.main()


def _serve(path: Path | None) -> None:
    os.umask(UMASK)
    output.make_whole()
    with output.clear_end():
        from contentfilter import serving  # noqa: PLC0415 - the commands need not wait for all of it

        serving.main(path)


if __name__ == "__main__":
    main()
