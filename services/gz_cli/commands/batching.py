"""The command about many files."""

from pathlib import Path
from typing import Annotated

import typer

from gz_cli.formats import Format
from gz_cli.options import Inputs, MaxParallel, Provider, State, Url
from gz_cli.root import app, leave


@app.command()
def batch(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The folder with the files.")],
    pattern: Annotated[
        str, typer.Option("--pattern", "--files", metavar="GLOB", help="Which of them; ** goes down into folders.")
    ] = "*",
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="What to ask about each; may read ${item.name}.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="The model (default: the provider's).")
    ] = None,
    vision: Annotated[bool, typer.Option("--vision", help="The files are images.")] = False,
    method: Annotated[
        str | None, typer.Option("--method", metavar="METHOD", help="Call this (default: llm/chat, or llm/vision).")
    ] = None,
    param: Inputs = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "--output", metavar="FILE", help="Write it there: .json, .jsonl, .csv or .md."),
    ] = None,
    batch_id: Annotated[
        str | None,
        typer.Option(
            "--batch-id", metavar="ID", help="Go on with this batch: only what is missing, failed or changed."
        ),
    ] = None,
    max_parallel: MaxParallel = None,
    format: Annotated[Format, typer.Option("--format", "-o", help="How to print it, without --out.")] = Format.TEXT,
    provider: Provider = None,
    url: Url = None,
    state: State = None,
) -> None:
    """Ask one question about every file of a folder. Files are read here; that some fail is a result."""
    from gz_cli import launch, settings, typed

    params = typed.inputs(param or []).by({})
    target = settings.target(url, state, provider)
    reach = launch.running_or_undecided(target)
    from gz_cli import batch as work  # as in run

    template = work.template_of(method, prompt, model, vision=vision, params=params)
    leave(work.run(reach, work.Wish(directory, pattern, template, batch_id or "", max_parallel, out, format)))
