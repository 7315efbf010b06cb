"""GTUBE, the text that every spam scanner takes for spam, as every virus scanner takes EICAR for a virus."""

from __future__ import annotations

from typing import Final

GTUBE: Final = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
