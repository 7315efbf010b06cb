"""What the doctor says about one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How serious a diagnosis is."""

    WELL = "ok"
    ODD = "warning"
    ILL = "failed"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at. advice: what to do, "" if nothing."""

    about: str
    state: State
    found: str
    advice: str = ""
