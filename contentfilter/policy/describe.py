"""The settings for people: in groups, each with what it may be, its default and its meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from contentfilter.policy import forms
from contentfilter.policy.settings import Policy

_GROUPS = (
    ("levels", r".*_level"),
    ("subject tags", r"spam_subject_tag\d?"),
    ("actions", r".*_action"),
    ("lovers", r".*_lover"),
    ("checks to leave out", r"bypass_.*"),
    ("quarantine", r".*_quarantine"),
    ("address extensions", r"addr_extension_.*"),
    ("warnings to recipients", r"warn_.*"),
    ("notices to administrators", r".*_admin"),
    ("other", r".*"),
)
"""A setting is in the first group whose pattern it matches."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. allowed: for people; default: typed."""

    name: str
    group: str
    allowed: str
    default: object
    meaning: str


def settings() -> Iterator[Setting]:
    """All of them, group by group, in the order of :class:`Policy` within."""
    for group, _ in _GROUPS:
        for name, field in Policy.model_fields.items():
            if _group(name) == group:
                yield Setting(name, group, forms.allowed(name), forms.DEFAULTS[name], field.description or "")


def _group(name: str) -> str:
    return next(group for group, pattern in _GROUPS if re.fullmatch(pattern, name))
