"""The commands that start something."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gz_cli.formats import Format
from gz_cli.options import (
    AllowShell,
    Backend,
    File,
    Inputs,
    InputsFile,
    MaxParallel,
    Output,
    OutputFile,
    Priority,
    Provider,
    State,
    TaskTimeout,
    Timeout,
    Url,
)
from gz_cli.root import app, leave

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check it, as `gz validate`.")]


def _only_check(file: Path, output: Format, url: str | None, state: Path | None) -> NoReturn:
    from gz_cli.configuration import settings
    from gz_cli.documents import checks

    leave(checks.validate([file], settings.state_folder(state), lambda: settings.target(url, state), output))


@app.command()
def run(
    file: File,
    param: Inputs = None,
    params_file: InputsFile = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the id and leave; the workflow goes on.")
    ] = False,
    timeout: Timeout = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
    task_timeout: TaskTimeout = None,
    max_parallel: MaxParallel = None,
    priority: Priority = None,
    output: Output = Format.TEXT,
    output_file: OutputFile = None,
    provider: Provider = None,
    allow_shell: AllowShell = False,
    dry_run: DryRun = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", hidden=True)] = False,  # it always shows how it goes on
    backend: Backend = None,
    url: Url = None,
    state: State = None,
) -> None:
    """Run a workflow and print its result. Starts what it needs if nothing runs here yet."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    if dry_run:
        _only_check(file, output, url, state)
    inputs, limit, source = typed.inputs(param or [], params_file), typed.seconds(timeout), typed.Source(file)
    urgency, file_out = typed.priority(priority), typed.file_to_write(output_file)
    target = settings.target(
        url, state, provider, task_timeout=task_timeout, max_parallel=max_parallel, allow_shell=allow_shell
    )
    reach = launch.for_document(target, source.content)
    from gz_cli import exits  # while a stack may be coming up
    from gz_cli.documents import beforehand

    ready = beforehand.ready(reach, source, inputs, priority=urgency)
    if ready is None:
        leave(exits.USAGE)
    from gz_cli.following import waits  # sockets and more, while one surely is
    from gz_cli.starting import starts

    wait = waits.Wait(output, limit, quiet=quiet, hold_when_interrupted=True, file=file_out)
    leave(starts.start(ready, starts.Start(wait, then="leave" if detach else "wait")))


@app.command()
def submit(
    file: File,
    param: Inputs = None,
    params_file: InputsFile = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the result and print it.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="As --wait, and show how it goes on.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Nothing starts before `gz resume`.")] = False,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key makes no second workflow.")
    ] = None,
    timeout: Timeout = None,
    task_timeout: TaskTimeout = None,
    max_parallel: MaxParallel = None,
    allow_shell: AllowShell = False,
    dry_run: DryRun = False,
    params: Annotated[str | None, typer.Option("--params", metavar="JSON", hidden=True)] = None,
    priority: Priority = None,
    output: Output = Format.TEXT,
    output_file: OutputFile = None,
    url: Url = None,
    state: State = None,
) -> None:
    """Submit a workflow and print its id."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    if dry_run:
        _only_check(file, output, url, state)
    inputs, limit, source = typed.inputs(param or [], params_file), typed.seconds(timeout), typed.Source(file)
    inputs = typed.with_values(inputs, params)
    urgency, file_out = typed.priority(priority), typed.file_to_write(output_file)
    target = settings.target(url, state, task_timeout=task_timeout, max_parallel=max_parallel, allow_shell=allow_shell)
    reach = launch.for_document(target, source.content)
    from gz_cli import exits  # as in run
    from gz_cli.documents import beforehand

    ready = beforehand.ready(reach, source, inputs, priority=urgency)
    if ready is None:
        leave(exits.USAGE)
    from gz_cli.following import waits  # as in run
    from gz_cli.starting import starts

    waiting = wait or watch or file_out is not None
    how = starts.Start(
        waits.Wait(output, limit, quiet=not watch, file=file_out),
        then="wait" if waiting else "leave" if hold else "as the document says",
        idempotency_key=key,
        hold=hold,
    )
    leave(starts.start(ready, how))


@app.command()
def chat(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="One question; without it, a conversation. - reads stdin.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="The model (default: the provider's).")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="What the model is to be told first.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter of llm/chat, as temperature=0."),
    ] = None,
    provider: Provider = None,
    url: Url = None,
    state: State = None,
) -> None:
    """Talk with a model. Every turn is a workflow; Ctrl-C cancels it."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    params = typed.inputs(param or []).by({}) | ({"model": model} if model is not None else {})
    question = typed.text_or_stdin(prompt)
    reach = launch.running_or_undecided(settings.target(url, state, provider))
    from gz_cli.starting import chat as conversation

    leave(conversation.talk(reach, question, params, system))


@app.command()
def up(
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Where the coordinator answers (default: 127.0.0.1:8765)."),
    ] = None,
    state: State = None,
    provider: Provider = None,
    journal: Annotated[
        str | None,
        typer.Option("--journal", metavar="URL", help="sqlite:///PATH, postgresql://…, redis://… or memory:"),
    ] = None,
    nats: Annotated[
        str | None, typer.Option("--nats", metavar="URL", help="A NATS to share (default: a private one is started).")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Clients must present the token in it.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Answer at wss:// with this certificate (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, if it is in another file.")
    ] = None,
    allow_root: Annotated[
        list[Path] | None,
        typer.Option("--allow-root", metavar="DIR", help="A folder whose files documents may name; may be repeated."),
    ] = None,
    allow_env: Annotated[
        str | None,
        typer.Option("--allow-env", metavar="NAME,…", help="Our environment variables that documents may read."),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="NAME,…",
            help="Which provider gets a call where several could have it: least_loaded (the default), round_robin, "
            "model_affinity, best_fit; of some only, as in llm=model_affinity.",
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option("--log-level", metavar="LEVEL", help="Of all processes: debug, info, warning or error."),
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Leave it running, and return when it is up.")
    ] = False,
) -> None:
    """Run the whole stack in the foreground: NATS, coordinator, providers. Ctrl-C stops it.

    An address that others can reach needs --token-file and --tls-cert; `gz` on this machine finds both by itself.
    """
    from gz_cli.configuration import settings

    if background:
        import sys

        from gz_cli.stack import background as apart

        leave(apart.run(settings.target(None, state).state, sys.argv[1:]))
    from gz_cli.stack import up as stack

    config = settings.stack(
        state_dir=settings.text(state),
        providers=provider,
        listen=listen,
        journal=journal,
        nats_url=nats,
        token_file=settings.text(token_file),
        tls_cert=settings.text(tls_cert),
        tls_key=settings.text(tls_key),
        allow_env=allow_env,
        allow_root=[str(root) for root in allow_root] if allow_root else None,
        strategy=strategy,
        log_level=log_level,
    )
    leave(stack.run(config))


@app.command()
def down(state: State = None) -> None:
    """End the stack of the state folder, in an orderly way: workflows go on at the next start."""
    from gz_cli.configuration import settings
    from gz_cli.queries import monitoring

    leave(monitoring.stop(settings.target(None, state).state))
