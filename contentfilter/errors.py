"""Typed errors. Each carries the reply that a client gets when nobody handles it better.

Whether a failure is temporary is the class of its reply. The cause stays attached (``raise ... from``) and goes
to the log; the reply's text never names it.
"""

from __future__ import annotations

from contentfilter import reply
from contentfilter.reply import Reply


class FilterError(Exception):
    """Anything we raise on purpose. Unforeseen exceptions count as :data:`reply.INTERNAL`."""

    reply: Reply = reply.INTERNAL

    def __init__(self, message: str, answer: Reply | None = None) -> None:
        super().__init__(message)
        if answer is not None:
            self.reply = answer


class CommandError(FilterError):
    """A command of the SMTP or LMTP dialog that gets this answer and changes nothing."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(str(answer), answer)


class InspectorError(FilterError):
    """A scanner could not answer: it has *not* said "clean". timed_out: because it took too long over this message."""

    reply = reply.SCANNER_FAILED
    timed_out = False


class InspectorTimeoutError(InspectorError):
    """A scanner took too long; whether it is out of order or only this message is too much for it is not known."""

    timed_out = True


class NotInspectedError(InspectorError):
    """The scanner is in order, but this message could not be inspected: it was refused, or the fault is ours."""


class NextHopError(FilterError):
    """The next hop could not be reached, broke off, or answered out of turn."""

    reply = reply.NEXT_HOP_UNREACHABLE


class QuarantineError(FilterError):
    """The quarantine could not store, find or release an item."""

    reply = reply.STORAGE_FAILED


class SpoolError(FilterError):
    """The message could not be kept while we work on it (disk full, no inodes, read-only)."""

    reply = reply.STORAGE_FAILED


class BusyError(FilterError):
    """There are more messages than can be worked on. Told in the log once, not for each message."""

    reply = reply.BUSY


class PolicyError(FilterError):
    """A recipient's settings could not be looked up."""

    reply = reply.POLICY_FAILED


class LedgerError(FilterError):
    """The ledger could not be read or written. unsure: it may have been, for the error came with the commit."""

    reply = reply.STORAGE_FAILED

    def __init__(self, message: str, *, unsure: bool = False) -> None:
        super().__init__(message)
        self.unsure = unsure


class ConfigError(Exception):
    """A configuration that cannot be used. Its text names file, table and key, and what would be right."""
