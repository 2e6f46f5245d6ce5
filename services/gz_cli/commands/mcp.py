"""The commands about MCP: servers whose tools tasks can call, and Gleitzeit as a server of MCP hosts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gz_cli.formats import Format
from gz_cli.options import Output, State, Timeout, Url
from gz_cli.root import call_task_method, leave, mcp_app

if TYPE_CHECKING:
    from gleitzeit.mcp.memory import Memory

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the server is called: mcp/tool.NAME.TOOL.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Servers; without it, all.")]
Files = Annotated[
    list[Path] | None, typer.Option("--config", metavar="FILE", help="Also the servers of this file; may be repeated.")
]
Pairs = list[str] | None


@mcp_app.command("list")
def list_servers(config: Files = None, output: Output = Format.TEXT, state: State = None) -> None:
    """The configured servers, with exactly what is run."""
    from gz_cli.mcp import asking

    leave(asking.listed(config or [], _memory(state), output))


@mcp_app.command("add")
def add_server(
    name: Name,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="What starts it; after --, if it has options. Or its URL."),
    ] = None,
    server_url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Where it is: http(s) or ws(s).")
    ] = None,
    transport: Annotated[
        str | None, typer.Option("--transport", "-t", hidden=True)
    ] = None,  # as `claude mcp add` has it
    scope: Annotated[str | None, typer.Option("--scope", "-s", hidden=True)] = None,  # of which there is one here
    env: Annotated[Pairs, typer.Option("--env", "-e", metavar="NAME=VALUE", help="In its environment.")] = None,
    header: Annotated[Pairs, typer.Option("--header", metavar="NAME=VALUE", help="Sent to its URL.")] = None,
    cwd: Annotated[Path | None, typer.Option("--cwd", metavar="DIR", help="Where it is started.")] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Refuse tools whose definition has changed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace one of this name.")] = False,
    state: State = None,
) -> None:
    """Add a server: gz mcp add fs -- npx -y @modelcontextprotocol/server-filesystem /some/folder

    One that is elsewhere: gz mcp add docs https://host/mcp --header "Authorization: Bearer …". What stands behind
    `claude mcp add` in the manual of a server can stand behind `gz mcp add`, too.
    """
    from gz_cli.configuration import settings
    from gz_cli.exits import UsageError
    from gz_cli.mcp import files

    if command and not server_url and len(command) == 1 and files.is_url(command[0]):
        server_url, command = command[0], None
    if bool(command) == bool(server_url):
        raise UsageError("give either a command or a URL")
    entry: dict[str, Any] = {"url": server_url} if server_url else {}
    entry |= {"type": transport} if transport else {}
    if command:
        entry = {"command": command[0], "args": command[1:]}
    entry |= {"env": _pairs(env)} if env else {}
    entry |= {"headers": files.headers(header)} if header else {}
    entry |= {"cwd": str(cwd.absolute())} if cwd is not None else {}
    entry |= {"pin": True} if pin else {}
    leave(files.add(name, entry, settings.state_folder(state), force=force))


def _pairs(texts: list[str]) -> dict[str, str]:
    from gz_cli.typed import inputs

    return dict(inputs(texts).texts)


@mcp_app.command("remove")
def remove_server(name: Name, state: State = None) -> None:
    """Remove a server."""
    from gz_cli.configuration import settings
    from gz_cli.mcp import files

    leave(files.remove(name, settings.state_folder(state)))


@mcp_app.command("import")
def import_servers(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A file, or claude-desktop, claude-code, cursor, vscode, windsurf; without it, all that are found.",
        ),
    ] = None,
    only: Annotated[Pairs, typer.Option("--only", metavar="NAME", help="Only this server; may be repeated.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace those of the same name.")] = False,
    state: State = None,
) -> None:
    """Take over the servers of another program, as they stand there."""
    from gz_cli.configuration import settings
    from gz_cli.mcp import files

    leave(files.take(source, only or [], settings.state_folder(state), force=force))


@mcp_app.command("tools")
def list_tools(names: Names = None, config: Files = None, output: Output = Format.TEXT, state: State = None) -> None:
    """The tools of the servers, as methods for tasks. Starts the servers to ask them."""
    from gz_cli.mcp import asking

    leave(asking.tools(names or [], config or [], _memory(state), output))


@mcp_app.command("test")
def check_servers(names: Names = None, config: Files = None, output: Output = Format.TEXT) -> None:
    """Whether the servers start and answer."""
    from gz_cli.mcp import asking

    leave(asking.check(names or [], config or [], output))


@mcp_app.command("accept")
def accept_tools(names: Names = None, config: Files = None, state: State = None) -> None:
    """Take the tools of servers for what they are now: what has changed is no longer reported, nor refused."""
    from gz_cli.mcp import asking

    leave(asking.accept(names or [], config or [], _memory(state)))


@mcp_app.command("call")
def call_tool(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="TOOL or SERVER.TOOL.")],
    param: Annotated[
        Pairs, typer.Option("--param", "-p", metavar="KEY=VALUE", help="JSON, or else text; may be repeated.")
    ] = None,
    params: Annotated[str, typer.Option("--params", metavar="JSON", help="All of them, as an object.")] = "{}",
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Call a tool and print its answer."""
    from gz_cli import typed
    from gz_cli.exits import UsageError

    value = typed.params(params)
    if not isinstance(value, dict):
        raise UsageError("tools take their params by name")
    given = {key: typed.json_value(text) for key, text in typed.inputs(param or []).texts.items()}
    call_task_method(f"mcp/tool.{tool.removeprefix('mcp/tool.')}", {**value, **given}, timeout, output, url, state)


@mcp_app.command("questions")
def questions(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """What servers ask people (elicitation) and nobody has answered yet."""
    call_task_method("mcp/elicitation/list", {}, None, output, url, state)


@mcp_app.command("answer")
def answer(
    id: Annotated[str, typer.Argument(metavar="ID", help="Of the question, as `gz mcp questions` shows it.")],
    param: Annotated[Pairs, typer.Option("--param", "-p", metavar="KEY=VALUE", help="What it asks for.")] = None,
    decline: Annotated[bool, typer.Option("--decline", help="Do not answer it.")] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Answer what a server asks."""
    from gz_cli import typed

    content = {key: typed.json_value(text) for key, text in typed.inputs(param or []).texts.items()}
    action = {"action": "decline"} if decline else {"action": "accept", "content": content}
    call_task_method("mcp/elicitation/answer", {"id": id, **action}, None, output, url, state)


@mcp_app.command("serve")
def serve(
    http: Annotated[
        str | None, typer.Option("--http", metavar="PORT", help="Over HTTP at this port, or HOST:PORT, instead.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="With --http: hosts must present its token.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="With --http: the certificate (PEM) of https.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, if it is in another file.")
    ] = None,
    url: Url = None,
    state: State = None,
) -> None:
    """Be an MCP server on stdin and stdout, for the host that has started this: `gz mcp install` says how. With --http
    for hosts that are given a URL; an address that others can reach needs --token-file and --tls-cert."""
    from gz_cli.configuration import settings
    from gz_cli.exits import UsageError
    from gz_cli.mcp import serving

    reach = serving.reach_of(settings.target(url, state))
    if http is None:
        if token_file or tls_cert or tls_key:
            raise UsageError("--token-file, --tls-cert and --tls-key are of --http: stdin has only who started us")
        leave(serving.serve(reach))
    from gz_cli.mcp import serving_http

    leave(serving_http.serve(reach, http, token_file, tls_cert, tls_key))


@mcp_app.command("install")
def install(
    host: Annotated[
        str | None,
        typer.Argument(metavar="HOST", help="claude-desktop, claude-code, cursor, vscode or windsurf."),
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the host calls us.")] = "gleitzeit",
    output: Output = Format.JSON,
    url: Url = None,
    state: State = None,
) -> None:
    """Print the JSON by which an MCP host finds Gleitzeit."""
    import shutil
    import sys

    from gz_cli.exits import UsageError
    from gz_cli.mcp import files

    if host is not None and host not in files.HOSTS:
        raise UsageError(f"there is no host {host!r} here; there are {', '.join(files.HOSTS)}")
    beside = Path(sys.executable).with_name("gz")
    command = [str(beside)] if beside.exists() else [shutil.which("gz") or "gz"]
    command += ["mcp", "serve"]
    command += ["--url", url] if url is not None else []
    command += ["--state", str(state.absolute())] if state is not None else []
    leave(files.install(host, command, name, output))


def _memory(state: Path | None) -> "Memory":
    from gleitzeit.mcp.memory import Memory, memory_file
    from gz_cli.configuration import settings

    return Memory(memory_file(settings.state_folder(state)))
