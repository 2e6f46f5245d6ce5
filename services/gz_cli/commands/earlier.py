"""As earlier versions spelled it: each name is one of today's commands, and none is shown in `gz --help`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gz_cli.commands import changing, checking, looking, running, system, templates
from gz_cli.formats import Format
from gz_cli.options import Id, Output, State, Timeout, Url
from gz_cli.root import HELP, app, ask, config_app, dev_app, leave, system_app, workflow_app

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
    system.call_method("python/execute", {"code": code}, timeout, output, url, state)


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
    from gz_cli import launch, monitoring, settings

    reach = launch.running(settings.target(url, state))
    ask(reach, lambda client: monitoring.watch_system(client, interval))


for _name in ("serve", "hub", "start"):
    app.command(_name, hidden=True)(running.up)
app.command("logs", hidden=True)(looking.history)
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
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result; without it the id is printed.")] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """One task, as a workflow of its own."""
    from gz_cli import typed

    name = method if "/" in method or protocol is None else f"{protocol.partition('/')[0]}/{method}"
    more = {"priority": priority} if priority is not None else {}
    system.call_method(name, typed.params(params), timeout, output, url, state, leave_it=not wait, **more)


def get_task(id: Id, task: TaskId, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """What a task answered."""
    looking.result(id, task, output, url, state)


_group("task", submit=submit_task, status=get_task, list_=looking.get, result=get_task)
_group(
    "backend",
    list_tasks=looking.get,
    list_workflows=looking.list_workflows,
    get_task=get_task,
    get_result=get_task,
    get_results_by_workflow=looking.result,
    stats=looking.system_status,
)
_group("replay", timeline=looking.history, start=changing.retry, diff=changing.diff)

# ------------------------------------------------------------------------------------------------- the system

_group("queue", stats=looking.system_status)
_group("cluster", status=looking.system_status, connect=looking.system_status, nodes=system.providers)

system_app.command("status")(looking.system_status)
system_app.command("start")(running.up)
system_app.command("config")(system.config_show)
dev_app.command("start")(running.up)


@dev_app.command("stop")
def stop(state: State = None) -> None:
    """End the stack of the state folder, in an orderly way."""
    from gz_cli import monitoring, settings

    leave(monitoring.stop(settings.target(None, state).state))


# ------------------------------------------------------------------------------------------------- errors, config


def list_errors(word: Annotated[str, typer.Argument(metavar="[WORD]")] = "") -> None:
    """The codes of errors, with their names."""
    from gz_cli import monitoring

    leave(monitoring.errors(word))


_errors = _group("errors", list_=list_errors, search=list_errors)
_errors.command("show", context_settings={"ignore_unknown_options": True})(list_errors)  # -29006 is no option


@config_app.command("get")
def get_setting(key: Annotated[str, typer.Argument(metavar="KEY")]) -> None:
    """One value."""
    from gz_cli import configuring

    leave(configuring.get(key))


@config_app.command("set")
def set_setting(
    key: Annotated[str, typer.Argument(metavar="KEY")], value: Annotated[str, typer.Argument(metavar="VALUE")]
) -> None:
    """Write a value to the configuration file."""
    from gz_cli import configuring

    leave(configuring.put_value(key, value))


@config_app.command("validate")
def validate_file(
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="(default: the one in force)")] = None,
) -> None:
    """Whether the configuration is sound."""
    from gz_cli import configuring

    leave(configuring.check(file))


@config_app.command("profiles")
def profiles() -> None:
    """The names below `profiles` in the configuration file."""
    from gz_cli import configuring

    leave(configuring.profiles())


@config_app.command("init")
def create() -> None:
    """Write a configuration file that says what there is, all of it commented out."""
    from gz_cli import configuring

    leave(configuring.create())


config_app.command("create", hidden=True)(create)
