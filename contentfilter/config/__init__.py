"""The configuration: one frozen tree, one loader, the default of every key.

TOML, strictly typed; an unknown key is an error. `conf/contentfilter.toml` is :func:`reference`, and a test holds that.
"""

from contentfilter.config.loading import NamedFile, files, load, parse, path_in_use
from contentfilter.config.text import json_values, plain, reference, show
from contentfilter.config.tree import Config

__all__ = [
    "Config",
    "NamedFile",
    "files",
    "json_values",
    "load",
    "parse",
    "path_in_use",
    "plain",
    "reference",
    "show",
]
