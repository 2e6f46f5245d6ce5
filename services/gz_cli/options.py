"""The options and arguments that many commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer

from gz_cli import completing
from gz_cli.formats import Format


def _use_backend(kind: str | None) -> str | None:
    """Of earlier versions: where state is kept, as GLEITZEIT_BACKEND says it."""
    if kind is not None:
        os.environ["GLEITZEIT_BACKEND"] = kind
    return kind


Id = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="A workflow: its id, a unique beginning of it, its name, @latest, NAME@latest.",
        autocompletion=completing.workflows,
    ),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A workflow document, YAML or JSON; - reads stdin.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        "--hub-url",
        metavar="URL",
        help="The coordinator, ws://HOST:PORT/ (default: the configured or running one).",
    ),
]
State = Annotated[Path | None, typer.Option("--state", metavar="DIR", help="The state folder (default: ~/.gleitzeit).")]
Backend = Annotated[str | None, typer.Option("--backend", metavar="KIND", hidden=True, callback=_use_backend)]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the answer.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        "--input",
        metavar="KEY=VALUE",
        help="An input, by its type; of no type: JSON, or else text. May be repeated.",
    ),
]
InputsFile = Annotated[
    Path | None,
    typer.Option("--params-file", "-f", metavar="FILE", help="Inputs in YAML or JSON; --param wins; - reads stdin."),
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="DURATION", help="How long to wait: 30s, 5m, 2h (default: for ever).")
]
TaskTimeout = Annotated[
    str | None,
    typer.Option(
        "--task-timeout",
        metavar="DURATION",
        help="For one attempt of a task that has no timeout of its own (default: `default_timeout_seconds` as "
        "configured, or none).",
    ),
]
MaxParallel = Annotated[
    int | None,
    typer.Option(
        "--max-parallel",
        metavar="N",
        help="Tasks at once, for a workflow that does not say it (default: `max_parallel` as configured, or no limit).",
    ),
]
Priority = Annotated[
    str | None,
    typer.Option(
        "--priority", metavar="PRIORITY", help="Of the whole workflow: low, normal, high, urgent (default: its own)."
    ),
]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        "-e",
        metavar="TYPE",
        help="Only these, as TaskFailed or Task*; may be repeated. Earlier names (task:failed) are understood.",
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option("--output-file", metavar="FILE", help="Write the whole result there, as JSON (YAML by -o yaml)."),
]
AllowShell = Annotated[
    bool,
    typer.Option(
        "--allow-shell",
        help="The document may run commands on this machine (default: `allow_shell` as configured, or no).",
    ),
]
Provider = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="NAME,…",
        help="The providers of a stack that this starts (default: as configured, or echo,python; where a task needs a "
        "model, what is found here is added).",
    ),
]
