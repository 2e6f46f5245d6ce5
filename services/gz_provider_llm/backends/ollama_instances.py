"""Ollama's servers: where they are, what each holds and has loaded, and which one is asked.

What is known of a server is read anew when it is older than REFRESH_SECONDS, and kept up by what passes through us.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from gleitzeit.config.ollama import full_name
from gz_provider_llm.errors import BadRequest, LlmError, ModelNotFound, RateLimited, ServerError, Unreachable
from gz_provider_llm.transport.http import Http

REFRESH_SECONDS: Final = 10.0
PROBE_SECONDS: Final = 2.0  # for a server to say what it holds; those that take longer are left out until the next look
_URLS_SHOWN: Final = 3


class Held(Struct, frozen=True):
    """A model that a server has on its disk, as `/api/tags` tells."""

    name: str
    size: int | None = None
    digest: str = ""
    details: dict[str, Any] | None = None


class Instance:
    """One server. `slots` calls run there at once; more than that wait in its own queue.

    `error` is why nothing is known about it; None once it has answered.
    """

    def __init__(self, http: Http, slots: int) -> None:
        self.http = http
        self.slots = slots
        self.models: dict[str, Held] = {}
        self.loaded: set[str] = set()
        self.running = 0
        self.turn = 0
        """When it was asked last, as a number that grows with every call."""
        self.has_chat = True
        self.has_embed = True
        """Whether it knows /api/chat and /api/embed; false once it has said that it does not."""
        self.error: LlmError | None = None

    @property
    def name(self) -> str:
        """Host and port."""
        return urlsplit(self.http.server.shown_url).netloc

    def holds(self, model: str) -> bool:
        return full_name(model) in self.models

    def has_loaded(self, model: str) -> bool:
        return full_name(model) in self.loaded

    async def refresh(self) -> None:
        """Never fails: what went wrong stands in `error`."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                held, loaded = await asyncio.gather(self.http.get_json("/api/tags"), self._loaded())
            models = msgspec.convert(held["models"] or [], list[Held])
            self.models = {full_name(model.name): model for model in models}
            self.loaded = {full_name(model["name"]) for model in loaded["models"] or []}
            self.error = None
        except TimeoutError:
            where = self.http.server.shown_url
            self.fail(Unreachable(f"{where} did not say within {PROBE_SECONDS:g} s what models it has"))
        except (msgspec.ValidationError, KeyError, TypeError):
            self.fail(ServerError(f"{self.http.server.shown_url} does not answer like an Ollama server"))
        except RateLimited:
            pass  # too busy to say: what was known stands
        except LlmError as error:
            self.fail(error)

    async def _loaded(self) -> Any:
        """Servers from before 0.1.33, and some that speak as Ollama does, do not tell."""
        try:
            return await self.http.get_json("/api/ps")
        except BadRequest:
            return {"models": []}

    def forget(self, model: str) -> None:
        """It has said that it does not have it any more."""
        self.models.pop(full_name(model), None)
        self.loaded.discard(full_name(model))

    def fail(self, error: LlmError) -> None:
        self.error = error
        self.models, self.loaded = {}, set()


class Instances:
    """All servers that may be there, at least one. Have what is known `fresh`, then take the first of `candidates`."""

    def __init__(self, instances: Sequence[Instance], clock: Callable[[], float] = time.monotonic) -> None:
        self.all = tuple(instances)
        self._clock = clock
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._turns = itertools.count(1)

    def begin(self, instance: Instance) -> None:
        """A call goes there. Its end is for the caller to note, in `running`."""
        instance.running += 1
        instance.turn = next(self._turns)

    @property
    def alive(self) -> list[Instance]:
        return [instance for instance in self.all if instance.error is None]

    async def fresh(self, max_age_seconds: float = REFRESH_SECONDS) -> None:
        """Have looked at all of them that lately. Callers share one look; one who gives up does not end it."""
        if self._clock() - self._looked_at <= max_age_seconds:
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        await asyncio.gather(*(instance.refresh() for instance in self.all))
        self._looked_at = self._clock()

    def candidates(self, model: str, strategy: str = "") -> list[Instance]:
        """Those that have the model, the best first. Raises ModelNotFound, or Unreachable if none of all answers."""
        found = [instance for instance in self.alive if instance.holds(model)]
        if found:
            return sorted(found, key=lambda instance: preference(instance, model, strategy))
        if not self.alive:
            raise self.nobody()
        raise self.not_found(model)

    def nobody(self) -> LlmError:
        """Why none of them can be asked."""
        errors = [instance.error for instance in self.all if instance.error is not None]
        if len(errors) == 1:
            return errors[0]
        urls = [instance.http.server.shown_url for instance in self.all]
        where = ", ".join(urls[:_URLS_SHOWN]) + (", …" if len(urls) > _URLS_SHOWN else "")
        hint = "start it with: ollama serve"
        return Unreachable(f"no Ollama answers at {where}; {hint}", {"hint": hint})

    def not_found(self, model: str) -> ModelNotFound:
        """The error with what there is, and the command that gets what is not."""
        models = sorted({held.name for instance in self.alive for held in instance.models.values()})
        there = f"there are: {', '.join(models)}" if models else "it has none yet"
        where = ", ".join(instance.http.server.shown_url for instance in self.alive or self.all)
        hint = f"ollama pull {model}"
        message = f"Ollama at {where} has no model {model}; {there}. Get it with: {hint}"
        return ModelNotFound(message, {"model": model, "models": models, "hint": hint})

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for instance in self.all:
            await instance.http.close()


def preference(instance: Instance, model: str, strategy: str = "") -> tuple[int, ...]:
    """The lower the better. A model that must be loaded first costs seconds, and may push another one out: so a free
    place where it is loaded comes first, then a free place, then the shortest queue; if no `strategy` is named."""
    full, unloaded = instance.running >= instance.slots, not instance.has_loaded(model)
    match strategy:
        case "least_loaded":
            return instance.running, unloaded
        case "round_robin":
            return instance.turn, instance.running
        case "model_affinity":
            return unloaded, instance.running
    return full, unloaded, instance.running


def slots_from(environ: Mapping[str, str]) -> int:
    """How many calls one server gets at once: what OLLAMA_NUM_PARALLEL says here, else one, which is Ollama's default.

    It does not tell what it was started with, and a call that waits at its door spends the timeout of its task there.
    """
    given = environ.get("OLLAMA_NUM_PARALLEL", "")
    return int(given) if given.isdecimal() and int(given) else 1
