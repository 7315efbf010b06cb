"""What a shell may complete: names of settings, and words that their values can be. No database is asked."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from contentfilter.policy import forms
from contentfilter.policy.describe import settings


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of settings that do not stand there yet."""
    there = set(ctx.params.get(param.name or "") or ())
    return [
        CompletionItem(one.name, help=one.meaning)
        for one in settings()
        if one.name.startswith(incomplete) and one.name not in there
    ]


def complete_assignments(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """NAME=, and behind it the words that the value can be."""
    name, sign, begun = incomplete.partition("=")
    if not sign:
        return [
            CompletionItem(f"{one.name}=", help=one.meaning) for one in settings() if one.name.startswith(incomplete)
        ]
    words = forms.choices(name) if name in forms.DEFAULTS else ()
    return [CompletionItem(f"{name}={word}") for word in words if word.startswith(begun)]


def complete_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Keys that have nobody's name in them."""
    return [CompletionItem("@.", help="everybody")] if "@.".startswith(incomplete) else []


def complete_effects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a list entry can do, beside a score."""
    return [CompletionItem(word) for word in ("allow", "deny") if word.startswith(incomplete)]
