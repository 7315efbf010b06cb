"""What a connection was refused: how much of it goes to the log, and when it has been enough."""

from __future__ import annotations

import logging

from contentfilter.intake.settings import IntakeSettings
from contentfilter.reply import Reply

log = logging.getLogger("contentfilter.intake")

MOST_LOGGED = 20
"""Refusals of one connection that the log shows."""

_LOGGED = 200
"""Bytes of a refused command that the log shows."""

_ERRORS = frozenset({500, 501, 502, 503, 504, 555})
"""Codes of syntax and sequence: who gets many of them does not talk SMTP with us."""


class Refusals:
    """The refused commands of one connection. name: whose, for the log."""

    def __init__(self, settings: IntakeSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._logged = 0
        self._errors = 0
        self._recipients = 0

    def forgive(self) -> None:
        """A message got through: errors are counted from zero. What the log has seen stays seen."""
        self._errors = self._recipients = 0

    def add(self, line: bytes, state: str, answer: Reply) -> bool:
        """Note that line was refused with answer, in that state of the session; True if it was one error too many."""
        self._log(line, state, answer)
        if answer.code not in _ERRORS or self._is_one_of_a_list(line):
            return False
        self._errors += 1
        if self._errors < self._settings.max_errors:
            return False
        log.warning("%s: too many errors, closing", self._name)
        return True

    def _is_one_of_a_list(self, line: bytes) -> bool:
        """Whether it is a recipient of as many as one message may have.

        All of a list may be bad, or refused because the sender was. Hanging up would have the client try for days what
        each recipient's own refusal settles at once.
        """
        if line[:5].upper() != b"RCPT ":
            return False
        self._recipients += 1
        return self._recipients <= self._settings.max_recipients

    def _log(self, line: bytes, state: str, answer: Reply) -> None:
        if self._logged > MOST_LOGGED:
            return
        self._logged += 1
        if self._logged > MOST_LOGGED:
            log.info("%s: further refusals of this connection are not logged", self._name)
        else:
            log.info("%s: %s in state %s refused: %s", self._name, ascii(line[:_LOGGED]), state, answer)
