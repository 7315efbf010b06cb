"""The body of `contentfilter doctor`: what is built to reach each neighbour, and what is shown of how it is."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from contentfilter import assembly, presentation
from contentfilter.command import print_json, working_in
from contentfilter.config import Config, NamedFile
from contentfilter.diagnosis import State
from contentfilter.doctor import Neighbours, examine
from contentfilter.postconf import PostconfCommand


def show_neighbours(config: Config, files: Sequence[NamedFile], postfix_config: Path | None, *, as_json: bool) -> bool:
    """Examine all of them and show it; whether something failed.

    files: what the configuration was read from; postfix_config: Postfix's configuration directory, None: the usual one.
    """
    with tempfile.TemporaryDirectory(prefix="contentfilter-doctor-") as scratch:
        diagnoses = asyncio.run(examine(config, _neighbours(config, files, postfix_config, scratch)))
    if as_json:
        print_json(presentation.diagnosis_values(diagnoses))
    else:
        presentation.show_diagnoses(Console(), diagnoses)
    return any(one.state is State.ILL for one in diagnoses)


def _neighbours(config: Config, files: Sequence[NamedFile], postfix_config: Path | None, scratch: str) -> Neighbours:
    rspamd = config.rspamd.address if config.rspamd.enabled else ()
    return Neighbours(
        {address: assembly.clamd_for(config, address) for address in config.clamav.socket},
        {address: assembly.spamd_for(config, address) for address in config.spamassassin.address},
        assembly.next_hop_for(config),
        PostconfCommand(postfix_config),
        assembly.box_for(working_in(scratch, config)),
        assembly.policy_database_for(config),
        assembly.amavis_database_for(config) if config.policies.amavis_database else None,
        files,
        {address: assembly.rspamd_for(config, address) for address in rspamd},
    )
