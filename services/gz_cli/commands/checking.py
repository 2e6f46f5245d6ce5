"""The commands about documents that are not run."""

from pathlib import Path
from typing import Annotated

import typer

from gz_cli.formats import Format, GraphFormat, Starter
from gz_cli.options import File, Output, State, Url
from gz_cli.root import app, ask, leave


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Workflow documents, YAML or JSON.")],
    online: Annotated[bool, typer.Option("--online", help="Ask the coordinator too: it knows its providers.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Also by the JSON Schema that editors use (`gz schema`).")
    ] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Check documents without running them; every problem with its line. -o json prints the problems as data."""
    from gz_cli import launch
    from gz_cli.configuration import settings
    from gz_cli.documents import checks

    if online:
        reach = launch.running(settings.target(url, state))
        ask(reach, lambda client: checks.validate_online(client, files, output, by_schema=schema))
    folder = settings.state_folder(state)
    leave(checks.validate(files, folder, lambda: settings.target(url, state), output, by_schema=schema))


@app.command()
def graph(
    file: File,
    format: Annotated[GraphFormat, typer.Option("--format", "-f", help="How to draw it.")] = GraphFormat.ASCII,
) -> None:
    """Draw the tasks of a document and what they wait for."""
    from gz_cli import typed
    from gz_cli.documents import checks

    leave(checks.graph(typed.Source(file), format))


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the workflow; NAME.yaml is written.")],
    type: Annotated[Starter, typer.Option("--type", "--template", "-t", help="What it is to do.")] = Starter.PYTHON,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", hidden=True)] = False,  # NAME and --type say all
    state: State = None,
) -> None:
    """Write a document to begin with; editors complete and check it as you type."""
    from gz_cli.configuration import settings
    from gz_cli.documents import beginnings

    leave(beginnings.init(name, type.value, settings.target(None, state).state, force=force))


@app.command()
def schema(
    save: Annotated[bool, typer.Option("--save", help="Keep it where `gz init` points to.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Only the methods that ship with us.")] = False,
    url: Url = None,
    state: State = None,
) -> None:
    """The JSON Schema of documents, with the methods of the providers that are alive; for editors."""
    from gleitzeit.process.absent import NotRunning
    from gz_cli import launch
    from gz_cli.configuration import settings
    from gz_cli.documents import beginnings

    target = settings.target(url, state)
    try:
        reach = None if offline else launch.running(target)
    except NotRunning:
        reach = None
    if reach is None:
        leave(beginnings.schema(target.state, save=save))
    ask(reach, lambda client: beginnings.schema_online(client, target.state, save=save))
