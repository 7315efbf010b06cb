"""A private clamd with a database of two signatures: EICAR, and one of our own. It scans like a real one, for it is."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final

from contentfilter.inspectors.clamd import EICAR
from demo.neighbours.daemon import Daemon, ask, find_program, free_port

SNIPPET: Final = Path(__file__).parents[2] / "conf" / "clamav" / "clamd.conf.snippet"
OWN_TEST_VIRUS: Final = b"contentfilter test virus: harmless, and known to nobody else"

# clamd marks what is not of ClamAV's own, signed, database.
EICAR_NAME: Final = "Eicar-Test-Signature.UNOFFICIAL"
OWN_NAME: Final = "Contentfilter-Test-Signature.UNOFFICIAL"

_START_WITHIN: Final = 30.0
_DATABASE: Final = "\n".join(
    # ndb: name, any type of file, at any offset, these bytes.
    f"{name.removesuffix('.UNOFFICIAL')}:0:*:{content.hex()}"
    for name, content in ((EICAR_NAME, EICAR), (OWN_NAME, OWN_TEST_VIRUS))
)


class Clamd:
    """clamd in a directory of its own, on a Unix socket and, if wanted, on a free TCP port of the loopback interface.

    The configuration is our snippet, and options are lines of clamd.conf(5) that override it. Started and answering
    PING once the context is entered. Raises MissingProgramError, StartError.
    """

    def __init__(self, directory: Path, *, tcp: bool = False, options: str = "") -> None:
        self._directory = directory
        self._socket = directory / "clamd.ctl"
        self._port = free_port() if tcp else 0
        self._options = options
        self._daemon: Daemon | None = None

    @property
    def address(self) -> str:
        """The Unix socket, as our configuration has it."""
        return f"unix:{self._socket}"

    @property
    def tcp_address(self) -> str:
        """The TCP port, as our configuration has it."""
        return f"tcp:127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start and wait until it answers."""
        program = find_program("clamd", "clamav-daemon")
        self._socket.unlink(missing_ok=True)
        configuration = self._configure()
        self._daemon = Daemon([program, f"--config-file={configuration}"], self._directory / "clamd.log")
        self._daemon.wait_until(lambda: ask(str(self._socket), b"zPING\0") == b"PONG\0", _START_WITHIN)

    def stop(self) -> None:
        """Kill it. Twice does no harm."""
        if self._daemon is not None:
            self._daemon.stop()

    def freeze(self) -> None:
        """Have it take connections and say nothing."""
        if self._daemon is not None:
            self._daemon.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        if self._daemon is not None:
            self._daemon.thaw()

    def _configure(self) -> Path:
        database = self._directory / "database"
        database.mkdir(parents=True, exist_ok=True)
        (database / "test.ndb").write_text(f"{_DATABASE}\n")
        scratch = self._directory / "tmp"
        scratch.mkdir(exist_ok=True)
        lines = [
            "Foreground yes",
            f"LocalSocket {self._socket}",
            "LocalSocketMode 666",
            f"DatabaseDirectory {database}",
            f"TemporaryDirectory {scratch}",
            *([f"TCPSocket {self._port}", "TCPAddr 127.0.0.1"] if self._port else []),
            # Of an option that is given twice clamd takes the first.
            self._options,
            SNIPPET.read_text(),
        ]
        configuration = self._directory / "clamd.conf"
        configuration.write_text("\n".join(lines) + "\n")
        return configuration

    def __enter__(self) -> Clamd:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
