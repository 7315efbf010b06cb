"""`contentfilter completion`: the scripts that let a shell complete our commands."""

from __future__ import annotations

import os
import re
from typing import ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

PROGRAM = "contentfilter"
VARIABLE = "_CONTENTFILTER_COMPLETE"

_SCRIPT = """\
%(complete_func)s() {
    local IFS=$'\\n' item
    COMPREPLY=()
    while read -r item; do
        case $item in
            dir,*) compopt -o dirnames ;;
            file,*) compopt -o default ;;
            *=) compopt -o nospace; COMPREPLY+=("${item#*,}") ;;
            *) COMPREPLY+=("${item#*,}") ;;
        esac
    done < <(
        COMP_LINE=${COMP_LINE:0:COMP_POINT} COMP_WORDBREAKS=$COMP_WORDBREAKS \\
            %(complete_var)s=bash_complete "$1" 2>/dev/null
    )
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Click's own, but for words with @ and = in them: bash cuts those in pieces, and we need them whole."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _SCRIPT

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, and the one at it."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        incomplete = "" if line[-1:].isspace() or len(words) < 2 else words.pop()
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """One line. Bash replaces only what stands behind the last character that breaks words."""
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        _, incomplete = self.get_completion_args()
        kept = max((match.end() for match in re.finditer(f"[{re.escape(breaks)}]", incomplete)), default=0)
        return f"{item.type},{item.value[kept:]}"


_KINDS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(_KINDS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash: contentfilter completion bash >/etc/bash_completion.d/contentfilter
    zsh:  contentfilter completion zsh >/usr/share/zsh/vendor-completions/_contentfilter
    fish: contentfilter completion fish >/etc/fish/completions/contentfilter.fish
    """  # noqa: D301 - click needs the character, by which it leaves lines as they are
    click.echo(_KINDS[shell](ctx.find_root().command, {}, PROGRAM, VARIABLE).source())


def use_our_bash() -> None:
    """Let click complete for bash by our class."""
    add_completion_class(Bash)
