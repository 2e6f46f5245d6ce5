"""The command line: every command with its options, in the order in which `gz --help` tells them.

What a command does is imported when it is called, because `gz --help` and the completion of a shell must not wait for
sockets and schemas to be imported. Each file of `commands` is one group; importing it adds its commands.
"""

from gz_cli.root import app

# The order here is the order in `gz --help`.
# isort: off
from gz_cli.commands import running
from gz_cli.commands import batching
from gz_cli.commands import looking
from gz_cli.commands import changing
from gz_cli.commands import templates
from gz_cli.commands import schedules
from gz_cli.commands import mcp
from gz_cli.commands import checking
from gz_cli.commands import system
from gz_cli.commands import journal
from gz_cli.commands import earlier
# isort: on

__all__ = [
    "app",
    "batching",
    "changing",
    "checking",
    "earlier",
    "journal",
    "looking",
    "mcp",
    "running",
    "schedules",
    "system",
    "templates",
]
