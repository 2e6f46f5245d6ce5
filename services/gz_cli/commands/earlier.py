"""As earlier versions spelled it: each name is one of today's commands, and none is shown in `gz --help`.

What none of today's commands does any more says what to do instead.
"""

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gz_cli.commands import changing, checking, looking, running, system, templates
from gz_cli.formats import Format
from gz_cli.options import Id, Output, Provider, State, Timeout, Url
from gz_cli.root import HELP, app, ask, call_task_method, config_app, dev_app, leave, system_app, workflow_app

TaskId = Annotated[str, typer.Argument(metavar="TASK", help="A task of it.")]


def _group(name: str, **commands: Callable[..., Any]) -> typer.Typer:
    """A hidden group; `list_tasks` is the command `list-tasks`."""
    group = typer.Typer(help="As in earlier versions.", context_settings=HELP)
    for command, function in commands.items():
        group.command(command.rstrip("_").replace("_", "-"))(function)
    app.add_typer(group, name=name, hidden=True, no_args_is_help=True)
    return group


# ------------------------------------------------------------------------------------------------- single commands


@app.command("exec", hidden=True)
def execute(
    code: Annotated[str, typer.Argument(metavar="CODE", help="Python: what it assigns to result, or prints.")],
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Run Python code."""
    call_task_method("python/execute", {"code": code}, timeout, output, url, state)


@app.command("ask", hidden=True)
def ask_model(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT")],
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME")] = None,
    url: Url = None,
    state: State = None,
) -> None:
    """Ask a model one question: `gz chat`."""
    running.chat(prompt, model, None, None, None, url, state)


@app.command(hidden=True)
def monitor(
    interval: Annotated[float, typer.Option("--interval", metavar="SECONDS", min=0.1)] = 2.0,
    url: Url = None,
    state: State = None,
) -> None:
    """How the coordinator is doing, again and again until Ctrl-C."""
    from gz_cli import launch
    from gz_cli.configuration import settings
    from gz_cli.queries import monitoring

    reach = launch.running(settings.target(url, state))
    ask(reach, lambda client: monitoring.watch_system(client, interval))


for _name in ("serve", "hub", "start"):
    app.command(_name, hidden=True)(running.up)
app.command("logs", hidden=True)(looking.history)
app.command("events", hidden=True)(looking.history)
app.command("components", hidden=True)(system.providers)
app.command("provider", hidden=True)(system.providers)

# ------------------------------------------------------------------------------------------------- workflow, task


def list_active(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """The workflows that have not ended."""
    looking.list_workflows(["pending", "running", "paused"], None, 1000, output, url, state)


def export(id: Id, output: Output = Format.JSON, url: Url = None, state: State = None) -> None:
    """A workflow with all its tasks, as JSON."""
    looking.get(id, output, url, state)


for _name, _command in (
    ("run", running.run),
    ("submit", running.submit),
    ("status", looking.status),
    ("list", looking.list_workflows),
    ("get", looking.get),
    ("cancel", changing.cancel),
    ("retry", changing.retry),
    ("delete", changing.delete),
    ("watch", looking.watch),
    ("logs", looking.history),
    ("export", export),
    ("list-active", list_active),
    ("validate", checking.validate),
    ("from-template", templates.run),
    ("list-templates", templates.list_templates),
):
    workflow_app.command(_name)(_command)


def submit_task(
    method: Annotated[str, typer.Option("--method", metavar="METHOD")],
    protocol: Annotated[str | None, typer.Option("--protocol", metavar="PROTOCOL")] = None,
    params: Annotated[str, typer.Option("--params", metavar="JSON")] = "{}",
    priority: Annotated[str | None, typer.Option("--priority", metavar="PRIORITY")] = None,
    timeout: Timeout = None,
    depends_on: Annotated[list[str] | None, typer.Option("--depends-on", metavar="TASK", hidden=True)] = None,
    queue: Annotated[str | None, typer.Option("--queue", metavar="NAME", hidden=True)] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result; without it the id is printed.")] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """One task, as a workflow of its own."""
    from gz_cli import typed
    from gz_cli.exits import UsageError
    from gz_cli.terminal.talk import say

    if depends_on:
        raise UsageError("a task depends on others of its document: write both into one, and `gz submit` that")
    if queue is not None:
        say("warning: there is one queue; --priority says what goes first in it")
    priority = typed.priority(priority)
    name = method if "/" in method or protocol is None else f"{protocol.partition('/')[0]}/{method}"
    more = {"priority": priority} if priority is not None else {}
    call_task_method(name, typed.params(params), timeout, output, url, state, leave_it=not wait, **more)


def list_tasks(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="The workflow whose tasks they are.")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """The tasks of a workflow."""
    from gz_cli.exits import UsageError

    if id is None:
        raise UsageError("tasks are of a workflow: `gz task list ID`; `gz list` shows the workflows")
    looking.get(id, output, url, state)


def get_task(id: Id, task: TaskId = "", output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """What a task answered."""
    from gz_cli.exits import UsageError

    if not task:
        raise UsageError(
            "a task is one of a workflow: say ID TASK; `gz list` shows the workflows, `gz get ID` its tasks"
        )
    looking.result(id, task, output, url, state)


def retry_task(
    id: Id,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task that failed or was cancelled.")],
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Run one task again, with what was skipped because of it."""
    changing.change(id, output, url, state, lambda client, whole: client.retry_task(whole, task))


_group("task", submit=submit_task, status=get_task, list_=list_tasks, result=get_task, retry=retry_task)
_group(
    "backend",
    list_tasks=list_tasks,
    list_workflows=looking.list_workflows,
    get_task=get_task,
    get_result=get_task,
    get_results_by_workflow=looking.result,
    stats=looking.system_status,
)


class Replay(enum.StrEnum):
    FULL = "full"
    FROM_TASK = "from_task"
    FAILED_ONLY = "failed_only"
    DETERMINISTIC = "deterministic"


def start_replay(
    id: Id,
    mode: Annotated[Replay | None, typer.Option("--mode", help="What runs again.")] = None,
    from_task: Annotated[str | None, typer.Option("--from-task", metavar="TASK")] = None,
    failed_only: Annotated[bool, typer.Option("--failed-only")] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """What failed, in the same workflow (`gz retry`); or from a task on, as a new one (`gz rerun --from TASK`)."""
    from gz_cli.exits import UsageError

    chosen = mode or (Replay.FROM_TASK if from_task is not None else Replay.FAILED_ONLY)
    if (from_task is not None) != (chosen is Replay.FROM_TASK) or (failed_only and chosen is not Replay.FAILED_ONLY):
        raise UsageError("--from-task goes with --mode from_task, --failed-only with --mode failed_only")
    if chosen is Replay.FULL:
        raise UsageError("a whole workflow runs again when its document is submitted again: `gz run FILE`")
    if chosen is Replay.FAILED_ONLY:
        changing.retry(id, None, True, output, url, state)
    else:  # what nothing has changed for takes the result that it had
        changing.rerun(id, from_task, None, False, None, output, url, state)


_group("replay", timeline=looking.history, start=start_replay, diff=changing.diff)

# ------------------------------------------------------------------------------------------------- the system

_group("queue", stats=looking.system_status)


def connect(
    where: Annotated[str | None, typer.Argument(metavar="URL")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """How the coordinator there is doing. `coordinator_url` of the configuration is where commands go by themselves."""
    looking.system_status(output, where or url, state)


_group("cluster", status=looking.system_status, connect=connect, nodes=system.providers)

system_app.command("status")(looking.system_status)
system_app.command("start")(running.up)
system_app.command("config")(system.config_show)
dev_app.command("start")(running.up)


@dev_app.command("start-mcp")
def start_mcp(
    listen: Annotated[str | None, typer.Option("--listen", metavar="HOST:PORT")] = None,
    state: State = None,
    provider: Provider = None,
) -> None:
    """The stack with a provider of MCP tools: `gz up --provider echo,python,mcp`. `gz mcp serve` is an MCP server."""
    running.up(listen, state, provider or "echo,python,mcp")


dev_app.command("stop")(running.down)

# ------------------------------------------------------------------------------------------------- tokens


def make_token(state: State = None) -> None:
    """A new token for a coordinator that others can reach: `gz up --token-file FILE`."""
    from gz_cli.configuration import authorising, settings

    leave(authorising.init(settings.target(None, state).state))


def keep_token(
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="(default: typed, or from stdin)")] = None,
) -> None:
    """Present this token to coordinators: `token` of the configuration."""
    from gz_cli.configuration import authorising

    leave(authorising.login(file))


def show_access(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Whether there is a token, and whether the coordinator lets us in."""
    import asyncio

    from gz_cli.configuration import authorising, settings

    leave(asyncio.run(authorising.status(settings.target(url, state), output)))


_group("auth", init=make_token, login=keep_token, status=show_access)

# ------------------------------------------------------------------------------------------------- errors, config


def list_errors(word: Annotated[str, typer.Argument(metavar="WORD")] = "", output: Output = Format.TEXT) -> None:
    """The codes of errors, with their names."""
    from gz_cli.queries import monitoring

    leave(monitoring.errors(word, output))


_errors = _group("errors", list_=list_errors, search=list_errors)
_errors.command("show", context_settings={"ignore_unknown_options": True})(list_errors)  # -29006 is no option


@config_app.command("get")
def get_setting(key: Annotated[str, typer.Argument(metavar="KEY")], output: Output = Format.TEXT) -> None:
    """One value."""
    from gz_cli.configuration import configuring

    leave(configuring.get(key, output))


@config_app.command("set")
def set_setting(
    key: Annotated[str, typer.Argument(metavar="KEY")], value: Annotated[str, typer.Argument(metavar="VALUE")]
) -> None:
    """Write a value to the configuration file."""
    from gz_cli.configuration import configuring

    leave(configuring.put_value(key, value))


@config_app.command("validate")
def validate_file(
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="(default: the one in force)")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Whether the configuration is sound."""
    from gz_cli.configuration import configuring

    leave(configuring.check(file, output))


@config_app.command("profiles")
def profiles(output: Output = Format.TEXT) -> None:
    """The names below `profiles` in the configuration file."""
    from gz_cli.configuration import configuring

    leave(configuring.profiles(output))


@config_app.command("init")
def create() -> None:
    """Write a configuration file that says what there is, all of it commented out."""
    from gz_cli.configuration import configuring

    leave(configuring.create())


config_app.command("create", hidden=True)(create)
