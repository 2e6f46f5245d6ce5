"""The command line: every command with its options. What a command does is imported when it is called, because
`gz --help` and the completion of a shell must not wait for sockets and schemas to be imported.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gz_cli.formats import Format, GraphFormat
from gz_cli.options import File, Id, Inputs, MaxParallel, Output, Provider, State, TaskTimeout, Timeout, Url

if TYPE_CHECKING:
    from gleitzeit.client import Client
    from gleitzeit.client.views import State as WorkflowState
    from gz_cli.launch import Reach

HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="gz",
    help="Gleitzeit runs workflows of tasks, durably. `gz run FILE` is all that is needed to begin.",
    epilog="Exit codes: 0 ok, 1 the workflow failed, 2 usage, invalid document or not possible now, 3 not found, "
    "4 not authorised, 5 coordinator unreachable, 6 wait timed out, 7 cancelled, 130 interrupted.",
    rich_markup_mode=None,  # plain help: rich would double the time that --help takes
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings=HELP,
)
workflow_app = typer.Typer(
    help="run, submit, status, list, get and cancel, as earlier versions spelled them.", context_settings=HELP
)
system_app = typer.Typer(help="The running system.", context_settings=HELP)
dev_app = typer.Typer(help="The stack of a developer: `dev start` is `gz up`.", context_settings=HELP)
config_app = typer.Typer(help="The configuration.", context_settings=HELP)
app.add_typer(workflow_app, name="workflow", no_args_is_help=True)
app.add_typer(system_app, name="system", no_args_is_help=True)
app.add_typer(dev_app, name="dev", no_args_is_help=True)
app.add_typer(config_app, name="config", no_args_is_help=True)

Work = Callable[["Client"], Awaitable[int]]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata  # 12 ms that no other command needs

        typer.echo(f"gz {metadata.version('gleitzeit')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    if debug:
        from gz_cli.exits import show_tracebacks

        show_tracebacks()


def _exit(code: int) -> NoReturn:
    raise typer.Exit(code)


def _ask(reach: "Reach", work: Work) -> NoReturn:
    """Connect, do it, and end with its exit code."""
    import asyncio

    from gz_cli.connect import connected

    async def session() -> int:
        async with connected(reach) as client:
            return await work(client)

    _exit(asyncio.run(session()))


# ---------------------------------------------------------------------------------------------------- to run


@app.command()
def run(
    file: File,
    param: Inputs = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the id and leave; the workflow goes on.")
    ] = False,
    timeout: Timeout = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
    task_timeout: TaskTimeout = None,
    max_parallel: MaxParallel = None,
    output: Output = Format.TEXT,
    provider: Provider = None,
    url: Url = None,
    state: State = None,
) -> None:
    """Run a workflow and print its result. Starts what it needs if nothing runs here yet."""
    from gz_cli import launch, settings, typed

    inputs, limit, source = typed.inputs(param or []), typed.seconds(timeout), typed.Source(file)
    target = settings.target(url, state, provider, task_timeout=task_timeout, max_parallel=max_parallel)
    reach = launch.for_document(target, source.content)
    from gz_cli import starts, waits  # 0.2 s of imports, while the stack comes up

    wait = waits.Wait(output, limit, quiet=quiet, hold_when_interrupted=True)
    how = starts.Start(wait, then="leave" if detach else "wait", inputs=inputs)
    _exit(starts.start(reach, source, how))


@app.command()
def submit(
    file: File,
    param: Inputs = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the result and print it.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="As --wait, and show how it goes on.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Nothing starts before `gz resume`.")] = False,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key makes no second workflow.")
    ] = None,
    timeout: Timeout = None,
    task_timeout: TaskTimeout = None,
    max_parallel: MaxParallel = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Submit a workflow and print its id."""
    from gz_cli import launch, settings, typed

    inputs, limit, source = typed.inputs(param or []), typed.seconds(timeout), typed.Source(file)
    target = settings.target(url, state, task_timeout=task_timeout, max_parallel=max_parallel)
    reach = launch.for_document(target, source.content)
    from gz_cli import starts, waits  # as in run

    waiting = wait or watch
    how = starts.Start(
        waits.Wait(output, limit, quiet=not watch),
        then="wait" if waiting else "leave" if hold else "as the document says",
        inputs=inputs,
        idempotency_key=key,
        hold=hold,
    )
    _exit(starts.start(reach, source, how))


@app.command()
def chat(
    prompt: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="One question; without it, a conversation. - reads stdin.")
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
    from gz_cli import launch, settings, typed

    params = typed.inputs(param or []) | ({"model": model} if model is not None else {})
    question = typed.text_or_stdin(prompt)
    reach = launch.running_or_undecided(settings.target(url, state, provider))
    from gz_cli import chat as conversation

    _exit(conversation.talk(reach, question, params, system))


@app.command()
def up(
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Where the coordinator answers (default: 127.0.0.1:8765)."),
    ] = None,
    state: State = None,
    provider: Provider = None,
    journal: Annotated[str | None, typer.Option("--journal", metavar="URL", help="sqlite:///PATH or memory:")] = None,
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
    allow_env: Annotated[
        str | None,
        typer.Option("--allow-env", metavar="NAME,…", help="Our environment variables that documents may read."),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option("--log-level", metavar="LEVEL", help="Of all processes: debug, info, warning or error."),
    ] = None,
) -> None:
    """Run the whole stack in the foreground: NATS, coordinator, providers. Ctrl-C stops it.

    An address that others can reach needs --token-file and --tls-cert; `gz` on this machine finds both by itself.
    """
    from gz_cli import settings
    from gz_cli import up as stack

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
        log_level=log_level,
    )
    _exit(stack.run(config))


# ---------------------------------------------------------------------------------------------------- to look


@app.command()
def status(
    id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A workflow; without it, the coordinator.")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """How the coordinator, or one workflow, is doing."""
    from gz_cli import launch, queries, settings

    target = settings.target(url, state)
    if id is None:
        _ask(launch.running(target), lambda client: queries.system_status(client, output))
    else:
        _ask(launch.running_or_journal(target), lambda client: queries.workflow_status(client, id, output))


@app.command("list")
def list_workflows(
    status: Annotated[
        list[str] | None, typer.Option("--status", metavar="STATUS", help="Only these; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Only workflows of this name.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1000, help="At most so many.")] = 20,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """The workflows, newest first."""
    from gz_cli import launch, queries, settings, typed

    statuses = typed.statuses(status or ())
    reach = launch.running_or_journal(settings.target(url, state))
    _ask(reach, lambda client: queries.workflows(client, statuses, name, limit, output))


@app.command()
def get(id: Id, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """A workflow with all its tasks."""
    from gz_cli import launch, queries, settings

    reach = launch.running_or_journal(settings.target(url, state))
    _ask(reach, lambda client: queries.workflow(client, id, output))


@app.command()
def result(
    id: Id,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="Only this task's result.")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """What a workflow, or one of its tasks, answered."""
    from gz_cli import launch, queries, settings

    reach = launch.running_or_journal(settings.target(url, state))
    _ask(reach, lambda client: queries.result(client, id, task, output))


@app.command()
def watch(id: Id, timeout: Timeout = None, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Show a workflow until it has ended. -o json prints its events on stdout, one a line."""
    from gz_cli import launch, settings, typed

    limit = typed.seconds(timeout)
    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli import waits  # as in run

    _ask(reach, lambda client: waits.watch(client, id, waits.Wait(output, limit)))


@app.command()
def history(id: Id, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Everything that happened to a workflow, as the journal has it."""
    from gz_cli import launch, queries, settings

    reach = launch.running_or_journal(settings.target(url, state))
    _ask(reach, lambda client: queries.history(client, id, output))


@app.command()
def explain(
    id: Id,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="Only this task.")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Why the tasks of a workflow stand where they stand."""
    from gz_cli import launch, queries, settings

    reach = launch.running_or_journal(settings.target(url, state))
    _ask(reach, lambda client: queries.explain(client, id, task, output))


# ---------------------------------------------------------------------------------------------------- to change


@app.command()
def cancel(
    id: Id,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="For the journal.")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """End a workflow: nothing more starts, and what runs is stopped."""
    _change(id, output, url, state, lambda client, whole: client.cancel(whole, reason=reason))


@app.command()
def pause(id: Id, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Start nothing more of a workflow; what runs goes on."""
    _change(id, output, url, state, lambda client, whole: client.pause(whole))


@app.command()
def resume(
    id: Id,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it has ended.")] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Let a paused, held or interrupted workflow go on."""
    _change(id, output, url, state, lambda client, whole: client.resume(whole), watch=watch)


@app.command()
def hold(id: Id, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Start nothing more of a workflow until it is resumed, or until the next `gz up`."""
    _change(id, output, url, state, lambda client, whole: client.hold(whole))


@app.command()
def retry(
    id: Id,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="Only this task and what waits for it.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it has ended.")] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Run again what failed, was skipped or cancelled."""
    _change(id, output, url, state, lambda client, whole: client.retry(whole, task), watch=watch)


@app.command()
def signal(
    id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What a signal/wait task waits for.")],
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="VALUE", help="A value for it: JSON, or else text.")
    ] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Send a signal to a workflow. It is kept until a task waits for it."""
    from gz_cli import changes, launch, settings, typed

    reach = launch.running_or_journal(settings.target(url, state))
    _ask(reach, lambda client: changes.signal(client, id, name, typed.json_value(payload), output))


def _change(
    id: str,
    output: Format,
    url: str | None,
    state: Path | None,
    make: Callable[["Client", str], Awaitable["WorkflowState"]],
    *,
    watch: bool = False,
) -> None:
    from gz_cli import changes, launch, settings

    reach = launch.running_or_journal(settings.target(url, state))
    _ask(reach, lambda client: changes.change(client, id, output, make, watch=watch))


# ---------------------------------------------------------------------------------------------------- documents


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
        _ask(reach, lambda client: checks.validate_online(client, files))
    _exit(checks.validate(files))


@app.command()
def graph(
    file: File,
    format: Annotated[GraphFormat, typer.Option("--format", "-f", help="How to draw it.")] = GraphFormat.ASCII,
) -> None:
    """Draw the tasks of a document and what they wait for."""
    from gz_cli import checks, typed

    _exit(checks.graph(typed.Source(file), format))


# ---------------------------------------------------------------------------------------------------- the system


@app.command()
def providers(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """The providers that the coordinator knows, and what they do."""
    from gz_cli import launch, queries, settings

    _ask(launch.running(settings.target(url, state)), lambda client: queries.providers(client, output))


@app.command()
def protocols(
    protocol: Annotated[
        str | None, typer.Argument(metavar="[PROTOCOL]", help="Show its methods, for example python/v1.")
    ] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """The protocols that tasks can use, or the methods of one."""
    from gz_cli import launch, queries, settings

    reach = launch.running_or_started(settings.target(url, state))
    _ask(reach, lambda client: queries.protocols(client, protocol, output))


@app.command()
def call(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="system.status, or a task's: echo/echo, python/eval …")
    ],
    params: Annotated[str, typer.Option("--params", metavar="JSON", help="An object.")] = "{}",
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Call one method and print the answer. A task's method becomes a workflow of one task."""
    from gz_cli import launch, settings, typed

    value, limit = typed.params(params), typed.seconds(timeout)
    target = settings.target(url, state)
    if "/" not in method:
        from gz_cli import queries

        reach = launch.running_or_started(target)
        _ask(reach, lambda client: queries.call(client, method, value, limit, output))
    from gz_cli import starts, waits  # as in run

    how = waits.Wait(output, limit, quiet=True, hold_when_interrupted=True)
    _exit(starts.call_task_method(launch.for_document(target, method.encode()), method, value, how))


@config_app.command("show")
def config_show(output: Output = Format.TEXT) -> None:
    """The configuration in force, and where each value comes from."""
    from gz_cli import settings

    _exit(settings.show(output))


# ------------------------------------------------------------------------------------ as earlier versions spelled it

for name, command in (
    ("run", run),
    ("submit", submit),
    ("status", status),
    ("list", list_workflows),
    ("get", get),
    ("cancel", cancel),
):
    workflow_app.command(name)(command)


@system_app.command("status")
def system_status(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """How the coordinator is doing."""
    status(None, output, url, state)


dev_app.command("start")(up)
