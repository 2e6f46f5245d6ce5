"""Whether a coordinator has what a document calls: a model, the providers, the tools. Waited for while it comes up."""

import asyncio
import os
from collections.abc import Iterable

from gleitzeit.client import needs
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.models import WAYS, WITHOUT_MODEL, choose, methods_of, these
from gleitzeit.client.tools import require_tools
from gleitzeit.model.definition import Definition
from gleitzeit.process.absent import NoModel, NoProvider
from gleitzeit.process.reach import Reach
from gleitzeit.process.state import find_running
from gleitzeit.spec.urls import shown

LOOK_SECONDS = 0.8
"""How long a stack that runs may take to find its providers before it counts as one without."""
START_SECONDS = 5.0
"""The same for one that may still start them: a stack of ours, or one that was told to have some for models."""
GLANCE_SECONDS = 0.2
"""The same for one that was told to have none: only somebody of whom it has not heard yet may have a model."""
LOOK_AGAIN_SECONDS = 0.05

WAYS_BESIDE_OTHERS = """It was started by a `gz run` that still goes on, for something else. Any one of these helps:

  wait for that to end, and run this again
  gz run --state ANOTHER-FOLDER ...                 # beside it
  gz up --provider echo,python,ollama               # takes over what runs there; or openai, anthropic, llamacpp"""
WAYS_OF_A_STACK = f"""It runs already, so start it again with a provider that does:

  gz up --provider echo,python,ollama               # or openai, anthropic, llamacpp

{WAYS}"""


async def require(client: Coordinator, definition: Definition, reach: Reach) -> None:
    """Until all that it calls is served. Raises NoModel, NoProvider, NoTool."""
    await require_model(client, definition, reach)
    await _require_providers(client, definition, reach)
    await require_tools(client, set(needs.methods_of(definition)))


async def require_model(client: Coordinator, definition: Definition, reach: Reach) -> None:
    """Until somebody serves what the document calls. Raises NoModel if nobody does, or ours cannot start."""
    methods = methods_of(definition)
    ours = reach.address is None or reach.address.url != client.url  # which is that of a successor
    expected = _of_models(reach.target.providers if ours else _joined(reach))
    loop = asyncio.get_running_loop()
    known = not ours and reach.target.url is None  # what it was told to have
    deadline = loop.time() + (START_SECONDS if expected else GLANCE_SECONDS if known else LOOK_SECONDS)
    while methods:
        served = {method for provider in await client.providers() for method in provider.methods}
        if not served.isdisjoint(methods):
            return
        failures = _failures(reach)
        late = loop.time() > deadline or (not ours and 0 < expected <= len(failures))
        if ours and failures and (late or len(failures) >= expected):
            raise NoModel(f"{these(methods)} and {'; '.join(failures)}", WAYS)
        if late and ours and not expected:
            raise NoModel(f"{these(methods)} and there is none: {choose(os.environ)[1] or 'it came too late'}", WAYS)
        if late and ours:
            return
        if late and reach.no_model:
            raise NoModel(reach.no_model, WAYS)
        if late:
            why = "".join(f"; {failure}" for failure in failures)
            ways = WAYS_BESIDE_OTHERS if reach.address is not None and reach.address.embedded else WAYS_OF_A_STACK
            raise NoModel(f"{these(methods)} and no provider of {shown(client.url)} serves that{why}", ways)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _of_models(providers: Iterable[str]) -> int:
    return sum(name not in WITHOUT_MODEL for name in providers)


def _joined(reach: Reach) -> tuple[str, ...]:
    """What the stack in our state folder was told to start, and may still be starting."""
    running = find_running(reach.target.state) if reach.target.url is None else None
    return running.providers if running is not None else ()


def _failures(reach: Reach) -> tuple[str, ...]:
    """Why providers of the stack in our state folder cannot start, as far as it knows by now."""
    running = find_running(reach.target.state) if reach.target.url is None else None
    return running.failures if running is not None else ()


async def _require_providers(client: Coordinator, definition: Definition, reach: Reach) -> None:
    """Of a stack that ran before. One of our own is still starting them, and a task of it waits as long."""
    needed = set(needs.protocols(definition))
    if not needed or reach.address is None or reach.address.url != client.url:
        return
    deadline = asyncio.get_running_loop().time() + LOOK_SECONDS
    while missing := needed - {method.partition("/")[0] for one in await client.providers() for method in one.methods}:
        if asyncio.get_running_loop().time() > deadline:
            names = sorted(missing)
            raise NoProvider(f"nobody at {shown(client.url)} serves {', '.join(f'{name}/v1' for name in names)}", names)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
