"""What can be wrong with one item. The person at the command line gets the text."""

from __future__ import annotations

from contentfilter.errors import QuarantineError


class UnknownIdError(QuarantineError):
    """There is no such item, or no longer."""


class ItemBusyError(QuarantineError):
    """Somebody else is just releasing, deleting or storing the item."""


class ItemDamagedError(QuarantineError):
    """The files of the item are not what was stored."""


class IndexDamagedError(QuarantineError):
    """The index cannot be used until it is rebuilt from the files. file: which one, as the index knows it."""

    file: object = None


class IndexVersionError(IndexDamagedError):
    """The index is that of another version of the program: somebody has to decide what becomes of it."""
