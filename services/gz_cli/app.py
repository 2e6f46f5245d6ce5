"""The command line: every command with its options, in the order in which `gz --help` tells them.

What a command does is imported when it is called, because `gz --help` and the completion of a shell must not wait for
sockets and schemas to be imported. Each file of `commands` is one group; importing it adds its commands.
"""

from gz_cli.formats import Format
from gz_cli.options import Output, State, Url
from gz_cli.root import app, dev_app, system_app, workflow_app

# The order here is the order in `gz --help`.
# isort: off
from gz_cli.commands import running
from gz_cli.commands import looking
from gz_cli.commands import changing
from gz_cli.commands import templates
from gz_cli.commands import mcp
from gz_cli.commands import checking
from gz_cli.commands import system
# isort: on

__all__ = ["app", "checking", "mcp", "system"]

# As earlier versions spelled it.

for name, command in (
    ("run", running.run),
    ("submit", running.submit),
    ("status", looking.status),
    ("list", looking.list_workflows),
    ("get", looking.get),
    ("cancel", changing.cancel),
    ("from-template", templates.run),
    ("list-templates", templates.list_templates),
):
    workflow_app.command(name)(command)


@system_app.command("status")
def system_status(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """How the coordinator is doing."""
    looking.status(None, output, url, state)


dev_app.command("start")(running.up)
