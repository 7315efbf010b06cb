"""The groups `contentfilter policy` and `contentfilter lists`, with all that is in them."""

from __future__ import annotations

import click

from contentfilter.commands import change, exchange, lists, policy


@click.group("policy")
def policy_group() -> None:
    """Look up, explain and change settings.

    Exit codes: 64 a wrong command line, 65 a wrong key, setting, value or file, 66 no file to read, 69 the database
    is away, 73 no file to write, 75 try again, 77 no permission, 78 the configuration is wrong.
    """


for command in (
    policy.keys,
    policy.get,
    policy.list_entries,
    change.set_values,
    change.unset,
    exchange.import_all,
    exchange.export_all,
):
    policy_group.add_command(command)


@click.group("lists")
def lists_group() -> None:
    """Show and change lists of senders.

    Senders, client networks and signing domains that a recipient, a domain or everybody allows, denies or scores.
    OWNER is whose list it is, as in contentfilter policy set; "site" and "@." are everybody's. SUBJECT is a sender
    "alice@example.com", a domain "@example.com", it and all below "@.example.com", "<>", a network "192.0.2.0/24", or
    "dkim:example.com". Exit codes as of contentfilter policy.
    """


for command in (lists.add, lists.remove, lists.show):
    lists_group.add_command(command)
