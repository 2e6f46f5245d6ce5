"""`gz models`: what every provider of models has, asked of each for itself: llm/models tells of one provider only."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gleitzeit.client import prepare
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.models import PROVIDERS, with_model
from gleitzeit.client.served import require_model
from gleitzeit.model.definition import Definition
from gleitzeit.spec.loading.load import load_object
from gz_cli import exits
from gz_cli.connect import connected
from gz_cli.formats import Format
from gz_cli.launch import Reach
from gz_cli.terminal.output import encode
from gz_cli.terminal.table import fitted
from gz_cli.terminal.talk import put, say

METHOD = "llm/models"
ANSWER_SECONDS = 10.0
START_SECONDS = 3.0
"""For all providers of a stack to be there, once the first one is."""
LOOK_AGAIN_SECONDS = 0.05


def list_models(reach: Reach, output: Format) -> int:
    """Of a stack that runs, else of what this machine has. Raises NoModel."""
    anybody = {"name": "models", "tasks": [{"id": "any", "method": METHOD}]}
    definition = prepare(load_object(anybody), folder=Path(), environ={}).checked
    assert definition is not None
    found = with_model(reach, definition, os.environ)
    say(found.note)
    return asyncio.run(_list(found, definition, output))


async def _list(reach: Reach, definition: Definition, output: Format) -> int:
    async with connected(reach) as client:
        await require_model(client, definition, reach)
        names = await _names(client, expected={name for name in reach.target.providers if name in PROVIDERS})
        tasks = [_question(name) for name in names]
        submitted = await client.submit_definition({"name": "models", "tasks": tasks})
        result = await client.wait(submitted.workflow_id)
        silent = sorted(set(names) - result.results.keys())
        for name in silent:
            task = await client.task(submitted.workflow_id, name)
            say(f"{name}: {task.error.message if task.error is not None else task.status}")
        _put([_model(one, name) for name, said in sorted(result.results.items()) for one in _of(said)], output)
        return exits.FAILED if len(silent) == len(names) else exits.OK


def _question(provider: str) -> dict[str, Any]:
    return {"id": provider, "method": METHOD, "provider": provider, "timeout": ANSWER_SECONDS, "on_error": "skip"}


async def _names(client: Coordinator, expected: set[str]) -> list[str]:
    """Of all that serve it; those of a stack that has just been started come one after the other."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        names = {provider.name for provider in await client.providers() if METHOD in provider.methods}
        if names >= expected or asyncio.get_running_loop().time() > deadline:
            return sorted(names)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _of(said: object) -> Sequence[Mapping[str, Any]]:
    return said["models"] if isinstance(said, Mapping) else ()


def _model(model: Mapping[str, Any], provider: str) -> dict[str, Any]:
    return {**model, "provider": provider}


def _put(models: Sequence[dict[str, Any]], output: Format) -> None:
    if output is Format.ID:
        put("\n".join(model["name"] for model in models))
    elif output is not Format.TEXT:
        put(encode(models, output))
    else:
        keys = ("size_bytes", "context_tokens", "loaded")
        rows = [
            (one["name"], one["provider"], *map(one.get, keys), ", ".join(one.get("provider_ids", ())))
            for one in models
        ]
        put(fitted(("model", "provider", "bytes", "context", "loaded", "at"), rows))
