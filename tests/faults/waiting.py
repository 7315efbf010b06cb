"""What waits for the ledger (DESIGN section 6). This goes when the ledger is there."""

from __future__ import annotations

from tests.faults.accounting import Finding
from tests.faults.cells import Cell


def waits(cell: Cell, finding: Finding) -> bool:
    """Whether it is a duplicate that the ledger will prevent. A loss waits for nothing."""
    if not finding.problem.startswith("unexplained duplicate"):
        return False
    left = cell.misdeed is not None and cell.misdeed.stage == "work" and cell.misdeed.kind != "half close"
    mixed = not cell.lmtp and len(cell.mix.who) > 1 and bool(cell.hop or cell.idle or cell.mix.refused)
    return left or mixed
