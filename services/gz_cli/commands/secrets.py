"""The commands about secrets: what `${secrets.NAME}` stands for, where the providers run."""

from pathlib import Path
from typing import Annotated

import typer

from gz_cli.formats import Format
from gz_cli.options import Output, State
from gz_cli.root import leave, secret_app

Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and '_', as in ${secrets.NAME}.")]


@secret_app.command("set")
def set_secret(
    name: Name,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="What it is stands there (default: typed, or stdin).")
    ] = None,
    state: State = None,
) -> None:
    """Keep one, or change it: the next call has it. It is never taken from the command line, which others see."""
    from gz_cli.configuration import keeping, settings

    leave(keeping.put_secret(name, file, settings.state_folder(state)))


@secret_app.command("list")
def list_secrets(output: Output = Format.TEXT, state: State = None) -> None:
    """Their names."""
    from gz_cli.configuration import keeping, settings

    leave(keeping.listed(settings.state_folder(state), output))


@secret_app.command("delete")
def delete_secret(name: Name, state: State = None) -> None:
    """Forget one."""
    from gz_cli.configuration import keeping, settings

    leave(keeping.forget(name, settings.state_folder(state)))
