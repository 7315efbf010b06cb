"""What the commands of `contentfilter` share: options, the configuration, JSON."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import Any

import click

from contentfilter import config as configuration
from contentfilter.config import Config
from contentfilter.errors import ConfigError
from contentfilter.output import fail

config_option = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file; else $CONTENTFILTER_CONFIG, else /etc/contentfilter/contentfilter.toml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def load(path: Path | None) -> Config:
    """The configuration, or a clear end."""
    try:
        return configuration.load(configuration.path_in_use(path))
    except ConfigError as error:
        fail(str(error), os.EX_CONFIG)


def usable(path: Path | None) -> Config:
    """What the daemon would start with, or the end that it would come to."""
    from contentfilter import serving  # noqa: PLC0415 - the other commands need not wait for all of it

    try:
        return serving.loaded(configuration.path_in_use(path))
    except ConfigError as error:
        fail(str(error), os.EX_CONFIG)


def working_in(scratch: str, config: Config) -> Config:
    """The configuration with this directory in place of the daemon's.

    For those who may not write there, or have none yet. Helpers of root are somebody else.
    """
    directory = Path(scratch)
    directory.chmod(0o711)
    update: dict[str, Any] = {"state_directory": directory}
    usual = f"sqlite:///{config.state_directory / 'policy.sqlite'}"
    if config.policies.database == usual and not config.state_directory.exists():
        # Where the daemon never ran nobody can have set anything; for the daemon itself it would be an error.
        database = f"sqlite:///{directory / 'policy.sqlite'}"
        update["policies"] = config.policies.model_copy(update={"database": database})
    return config.model_copy(update=update)


def check_way(config: Config, client: str | None, listener: str | None) -> None:
    """End if a message cannot have come from this client, by its address, or in at this listener; None: not said."""
    if client is not None:
        try:
            ipaddress.ip_address(client.lower().removeprefix("ipv6:"))
        except ValueError:
            fail(f'--client: must be an IP address, not "{client}"', os.EX_DATAERR)
    if listener is not None and listener not in config.listen.addresses:
        fail(f'--listener: must be one of {", ".join(config.listen.addresses)}, not "{listener}"', os.EX_DATAERR)


def print_json(values: Any) -> None:
    """One JSON document on stdout. ASCII only, so that nothing in it drives a terminal."""
    click.echo(json_text(values), nl=False)


def json_text(values: Any) -> str:
    """One JSON document in ASCII, with a line end."""
    return json.dumps(values, indent=2, allow_nan=False) + "\n"
