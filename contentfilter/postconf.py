"""Postfix's configuration, as its own postconf(1) tells it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

_SECONDS = 20


class Postconf(Protocol):
    """Asks Postfix for its configuration."""

    def main(self, parameter: str) -> str:
        """A main.cf parameter, expanded."""
        ...

    def overrides(self) -> Mapping[str, str]:
        """The -o options of master.cf, as "service/type/parameter": value."""
        ...

    def services(self) -> Sequence[str]:
        """The services of master.cf, as "service/type"."""
        ...


class PostconfError(Exception):
    """Postfix's configuration cannot be asked for."""


class PostconfCommand:
    """postconf(1), for the instance that has its configuration in directory (None: the default one)."""

    def __init__(self, directory: Path | None = None) -> None:
        self._options = ["-c", str(directory)] if directory else []

    def main(self, parameter: str) -> str:
        """A main.cf parameter, expanded. Raises PostconfError."""
        return self._run("-hx", parameter).strip()

    def overrides(self) -> Mapping[str, str]:
        """The -o options of master.cf. Raises PostconfError."""
        pairs = (line.partition(" =") for line in self._run("-P").splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}

    def services(self) -> Sequence[str]:
        """The services of master.cf, each its name and type. Raises PostconfError."""
        return ["/".join(line.split()[:2]) for line in self._run("-M").splitlines()]

    def _run(self, *arguments: str) -> str:
        program = shutil.which("postconf", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise PostconfError("no postconf on this host")
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program with fixed arguments
                [program, *self._options, *arguments],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise PostconfError(
                error.stderr.strip().splitlines()[-1] if error.stderr.strip() else str(error)
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostconfError(str(error)) from error
        return done.stdout
