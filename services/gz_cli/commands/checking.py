"""The commands about documents that are not run."""

from pathlib import Path
from typing import Annotated

import typer

from gz_cli.formats import GraphFormat
from gz_cli.options import File, State, Url
from gz_cli.root import app, ask, leave


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Workflow documents, YAML or JSON.")],
    online: Annotated[bool, typer.Option("--online", help="Ask the coordinator too: it knows its providers.")] = False,
    url: Url = None,
    state: State = None,
) -> None:
    """Check documents without running them; every problem with its line."""
    from gz_cli import checks, launch, settings

    if online:
        reach = launch.running(settings.target(url, state))
        ask(reach, lambda client: checks.validate_online(client, files))
    leave(checks.validate(files))


@app.command()
def graph(
    file: File,
    format: Annotated[GraphFormat, typer.Option("--format", "-f", help="How to draw it.")] = GraphFormat.ASCII,
) -> None:
    """Draw the tasks of a document and what they wait for."""
    from gz_cli import checks, typed

    leave(checks.graph(typed.Source(file), format))
