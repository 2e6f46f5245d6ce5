"""The options and arguments that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

from gz_cli.formats import Format

Id = Annotated[
    str, typer.Argument(metavar="ID", help="A workflow: its id, a unique beginning of it, its name, or @latest.")
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A workflow document, YAML or JSON; - reads stdin.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="The coordinator, ws://HOST:PORT/ (default: the configured or running one)."
    ),
]
State = Annotated[Path | None, typer.Option("--state", metavar="DIR", help="The state folder (default: ~/.gleitzeit).")]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the answer.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--param", "-p", "--input", metavar="KEY=VALUE", help="An input; JSON, or else text. May be repeated."
    ),
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="DURATION", help="How long to wait: 30s, 5m, 2h (default: for ever).")
]
Provider = Annotated[
    str | None,
    typer.Option("--provider", metavar="NAME,…", help="The providers that a stack of ours has (default: echo,python)."),
]
