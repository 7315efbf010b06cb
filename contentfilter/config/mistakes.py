"""What is wrong with a configuration, in the words of the file instead of Python's."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import get_args

from pydantic import (
    BaseModel,
    ValidationError,
)

from contentfilter.config.tree import Config
from contentfilter.config.values import quoted
from contentfilter.policy import forms


def first_error(error: ValidationError, kind: type[BaseModel] = Config) -> str:
    """The first mistake: where it is, what is wrong, and what would be right. kind: what the file was to be."""
    first = error.errors()[0]
    if not first["loc"]:  # something between tables, which says itself where it is
        return first["msg"].removeprefix("Value error, ")
    place = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        *tables, key = [str(step) for step in first["loc"]]
        if not tables and kind is not Config and key in Config.model_fields:
            return f"{place}: belongs into the configuration itself; known here: {_known(kind)}"
        return f"{place}: unknown key{_nearest(key, tables, kind)}"
    return f"{place}: {forms.problem_of(dict(first))}"


def _place(steps: Sequence[str | int]) -> str:
    """Where something is wrong: table and key, and which rule of a set."""
    *tables, key = [str(step) for step in steps if not isinstance(step, int)]
    number = steps[4] if tables[:2] == ["banned", "set"] and len(steps) > 4 else None
    if isinstance(number, int):
        inner = f": {key}" if len(tables) > 3 else ""
        return f"[banned.set.{quoted(tables[2])}] rule {number + 1}{inner}"
    names_of_tables = ".".join(quoted(table) for table in tables)
    if key == "[key]":  # pydantic's way to say that the name of a table is wrong
        return f"[{names_of_tables}]"
    return f"[{names_of_tables}] {key}" if tables else key


def _known(model: type[BaseModel]) -> str:
    return ", ".join(sorted(model.model_fields))


def _nearest(key: str, tables: Sequence[str], model: type[BaseModel]) -> str:
    for table in tables:
        field = model.model_fields.get(table)  # None: a key that is free, such as an address
        model = _model_in(field.annotation) or model if field else model
    close = difflib.get_close_matches(key, model.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {_known(model)}"


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The table that a key holds, one or many."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
