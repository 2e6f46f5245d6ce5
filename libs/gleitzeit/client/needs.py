"""The providers that a document needs beside echo, python and a model, and the leave to run commands.

Looked into before anything is started, and before what that takes is imported.
"""

from collections.abc import Iterator

from gleitzeit.model.definition import Definition
from gleitzeit.process.absent import NotAllowed
from gleitzeit.process.reach import Target

PROVIDERS = {"http": "http", "shell": "shell", "mcp": "mcp", "validation": "validation"}
"""Protocol -> the provider of ours that serves it, started when a document asks for it."""
SHELL = "shell"


def methods_of(definition: Definition) -> Iterator[str]:
    """Everything that its tasks may call."""
    for task in definition.tasks:
        yield task.method
        for other in task.fallback:
            yield other.method


def protocols(definition: Definition) -> list[str]:
    found = {method.partition("/")[0] for method in methods_of(definition)}
    return [name for name in PROVIDERS if name in found]


def with_providers(target: Target, definition: Definition) -> Target:
    """What a stack of ours must have for this document. Raises NotAllowed for commands that nobody has allowed."""
    needed = [PROVIDERS[name] for name in protocols(definition)]
    if SHELL in needed and not (target.allow_shell or SHELL in target.providers):
        raise NotAllowed(_commands(definition))
    more = [name for name in needed if name not in target.providers]
    return target.with_providers((*target.providers, *more)) if more else target


def _commands(definition: Definition) -> str:
    tasks = [task.id for task in definition.tasks if task.method.startswith(f"{SHELL}/")]
    return f"this runs commands on your machine (task{'s' * (len(tasks) > 1)} {', '.join(tasks[:5]) or '…'})"
