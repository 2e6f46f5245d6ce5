"""The commands about documents that the coordinator keeps."""

from typing import Annotated

import typer

from gz_cli import completing
from gz_cli.formats import Format
from gz_cli.options import File, Inputs, InputsFile, Output, Provider, State, Timeout, Url
from gz_cli.root import ask, leave, template_app

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A template: NAME, or NAME@VERSION.", autocompletion=completing.templates)
]


@template_app.command("put")
def put_template(
    file: File,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it (default: after the workflow's name).")
    ] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Keep a document under a name. What differs from the newest version becomes a new one."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    source = typed.Source(file)
    reach = launch.running_or_started(settings.target(url, state))
    from gz_cli.starting import templates

    leave(templates.keep(reach, source, name, output))


@template_app.command("list")
def list_templates(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """The templates."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import templates

    ask(reach, lambda client: templates.listed(client, output))


@template_app.command("get")
def get_template(name: Name, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """The document of a template, as it was stored."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import templates

    ask(reach, lambda client: templates.document(client, name, output))


@template_app.command("delete")
def delete_template(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A template, with all its versions.", autocompletion=completing.templates),
    ],
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Forget a template. Workflows that were made of it go on."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import templates

    ask(reach, lambda client: templates.forget(client, name, output))


@template_app.command()
def run(
    name: Name,
    param: Inputs = None,
    params_file: InputsFile = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the id and leave; the workflow goes on.")
    ] = False,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key makes no second workflow.")
    ] = None,
    timeout: Timeout = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
    output: Output = Format.TEXT,
    provider: Provider = None,
    url: Url = None,
    state: State = None,
) -> None:
    """Run a template and print its result."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    inputs, limit = typed.inputs(param or [], params_file), typed.seconds(timeout)
    reach = launch.running_or_journal(settings.target(url, state, provider))
    from gz_cli.following import waits  # 0.2 s of imports, while the stack comes up
    from gz_cli.starting import templates

    how = waits.Wait(output, limit, quiet=quiet, hold_when_interrupted=True)
    ask(reach, lambda client: templates.run(client, name, inputs, how, key=key, detach=detach))
