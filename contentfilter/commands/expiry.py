"""--expires, which entries and list entries have."""

from __future__ import annotations

import math
from typing import Any

import click

from contentfilter.policy import forms


class Expiry(click.ParamType[float]):
    """A date or a moment on the command line, or never, which is infinity."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds since the epoch."""
        try:
            expires = forms.expiry_from_text(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return math.inf if expires is None else expires


def expiry_given(expires: float | None, kept: float | None) -> float | None:
    """When an entry is to end: as the option says, else as it was."""
    if expires is None:
        return kept
    return None if expires == math.inf else expires


expires_option = click.option(
    "--expires", type=Expiry(), help="The last day, or the moment, at which the entry applies; or never."
)
