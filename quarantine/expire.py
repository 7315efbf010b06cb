"""Age and size limits: what is too old goes, then the oldest until the rest fits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from quarantine.errors import ItemBusyError, UnknownIdError
from quarantine.index import Holding
from quarantine.record import State
from quarantine.store import Progress, Quarantine

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """keep_days: age from which an item goes; max_size: bytes on disk that all may take together, 0 for no limit."""

    keep_days: float
    max_size: int = 0


@dataclass(frozen=True, slots=True)
class Expired:
    """What went, or would go. leftovers: files that belonged to no item; kept: bytes that remain on disk."""

    expired: tuple[Holding, ...]
    busy: tuple[str, ...]
    leftovers: tuple[str, ...]
    kept: int


def due(holdings: Iterable[Holding], limits: Limits, now: float) -> list[Holding]:
    """The items that a limit says must go. For size, those go first that nobody waits for any more, oldest first."""
    holdings = list(holdings)
    old = [one for one in holdings if one.time <= now - limits.keep_days * _DAY]
    if not limits.max_size:
        return old
    rest = sorted(set(holdings).difference(old), key=lambda one: (one.state is State.PENDING, one.time, one.id))
    surplus = sum(one.stored for one in rest) - limits.max_size
    for one in rest:
        if surplus <= 0:
            break
        old.append(one)
        surplus -= one.stored
    return old


def expire(quarantine: Quarantine, limits: Limits, now: float, progress: Progress, *, dry_run: bool) -> Expired:
    """Delete what is due, and what crashes left. now: seconds since the epoch. Raises QuarantineError."""
    holdings = quarantine.holdings()
    chosen = due(holdings, limits, now)
    busy: list[str] = []
    for number, one in enumerate(chosen, 1):
        if not dry_run and not _delete(quarantine, one.id):
            busy.append(one.id)
        progress(number, len(chosen))
    leftovers = quarantine.leftovers() if dry_run else quarantine.sweep()
    gone = tuple(one for one in chosen if one.id not in busy)
    kept = sum(one.stored for one in holdings) - sum(one.stored for one in gone)
    return Expired(gone, tuple(busy), tuple(str(path) for path in leftovers), kept)


def _delete(quarantine: Quarantine, mail_id: str) -> bool:
    try:
        quarantine.delete(mail_id)
    except ItemBusyError:
        return False
    except UnknownIdError:
        return True  # somebody else was faster
    return True
