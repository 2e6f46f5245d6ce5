"""shell/v1: programs of this machine, with the rights of whoever starts this provider.

That is why it is never started by itself: `gz run --allow-shell`, `allow_shell: true` in the configuration or
`--provider …,shell` do, and a coordinator elsewhere has one only if its operator wants it. What holds then:

- no shell reads a command unless the task says `shell: true`; a reference in a command is always one word or a part of
  one, whatever it stands for, and with `shell: true` references are refused in the command: they belong into `env`;
- programs get HOME, PATH and the like, and what the task's `env` says, but nothing else of our environment;
- each leads a process group, which is killed at the end, at the timeout, and when the task is cancelled;
- `--commands git,ls` (GLEITZEIT_SHELL_COMMANDS) allows these programs and no others.

It is no sandbox: an allowed program can do what its user can do.
"""

import argparse
import os
from pathlib import Path

from gleitzeit.provider import Provider
from gz_provider_shell.methods import Settings, ShellMethods

CAPACITY = max(2, 2 * (os.cpu_count() or 1))
VARIABLE = "GLEITZEIT_SHELL_COMMANDS"


def build(settings: Settings) -> Provider:
    provider = Provider("shell", protocols=["shell/v1"], capacity=CAPACITY)
    methods = ShellMethods(settings)
    for name in ("exec", "pipe", "batch"):
        provider.method(f"shell/{name}")(getattr(methods, name))
    return provider


def parser() -> argparse.ArgumentParser:
    described = Provider("shell", protocols=["shell/v1"], capacity=CAPACITY).parser()
    described.add_argument(
        "--commands", metavar="NAME,…", default=os.environ.get(VARIABLE, ""),
        help=f"the only programs that tasks may run, a shell included (default: {VARIABLE}, or all)",
    )  # fmt: skip
    return described


def run() -> None:
    """The console script `gz-provider-shell`."""
    options = parser().parse_args()
    allowed = frozenset(name.strip() for name in options.commands.split(",") if name.strip())
    build(Settings(Path.cwd(), allowed)).main(options)
