"""Who could do what waits, how much of them is in use, how well they are, and what is in the way of the next task."""

from collections.abc import Iterable, Iterator
from math import inf

from gleitzeit.engine.inputs import ProviderReady
from gleitzeit.engine.scheduling import breaker
from gleitzeit.engine.scheduling.breaker import Circuit, RetryBudget
from gleitzeit.engine.scheduling.queue import Queue
from gleitzeit.engine.scheduling.strategies import Rank
from gleitzeit.engine.state.workflow import Task
from gleitzeit.model.definition import BreakerPolicy
from gleitzeit.spec.durations import how_soon

CircuitKey = tuple[str, BreakerPolicy]
MAX_CIRCUITS = 1_000
"""At one provider process."""
MAX_WARM = 32
"""So many models of one provider are remembered: more are hardly in its memory."""


class Share:
    """What we have of the places at a foreign provider (see `places`), and what we have said of it."""

    __slots__ = (
        "asking", "beat", "capacity", "due", "given_by", "places", "provider", "said_holds", "said_wants", "timed",
        "url",
    )  # fmt: skip

    def __init__(self, url: str) -> None:
        self.url = url
        self.provider: Provider | None = None
        """None where we do not know it, and others do."""
        self.capacity = 0
        self.places = 0
        self.given_by = ""
        """The url of the coordinator that gives them out, as far as we know."""
        self.asking = False
        """A report is under way."""
        self.due = self.beat = False
        """A report has to be made, for a reason or because it is time."""
        self.timed = False
        self.said_holds = self.said_wants = 0


class Provider:
    """A live provider process, how much of it is in use, and how well it is."""

    __slots__ = (
        "budget", "capacity", "circuits", "drained", "draining", "foreign", "instance", "last_start", "methods",
        "models", "name", "pools", "running", "share", "started", "warm",
    )  # fmt: skip

    def __init__(self, ready: ProviderReady, running: int = 0) -> None:
        self.circuits: dict[CircuitKey, Circuit] = {}
        """Of what has failed; what is not in here is closed."""
        self.budget = RetryBudget()
        self.pools: list[Pool] = []
        """All whose tasks may come to it."""
        self.running = running
        self.started = 0
        self.last_start = 0
        """The number of its last call among those of all providers; 0: there was none."""
        self.warm: dict[str, int] = {}
        """By model that it was called with, the number of the last such call; the latest models, last."""
        self.share: Share | None = None
        """If other coordinators may call it, too, and it does not keep its capacity itself."""
        self.draining = False
        """It is about to end."""
        self.drained = False
        """An operator wants nothing more sent to it."""
        self.update(ready)

    def update(self, ready: ProviderReady) -> None:
        self.name = ready.name
        self.instance = ready.instance
        self.methods = ready.methods
        self.models = ready.models
        self.capacity = ready.capacity
        self.foreign = ready.foreign
        """Its url, if it keeps no table of calls: then each of its connections is an instance."""

    def go_on_from(self, before: "Provider") -> None:
        """It was as well as that on its last connection."""
        self.circuits, self.budget = before.circuits, before.budget

    def begin(self, number: int) -> None:
        """A call of it, with this number among those of all, is under way."""
        self.running += 1
        self.started += 1
        self.last_start = number

    def remember(self, model: str, number: int) -> None:
        """It is called with that model."""
        self.warm.pop(model, None)
        self.warm[model] = number
        if len(self.warm) > MAX_WARM:
            del self.warm[next(iter(self.warm))]

    def circuit(self, key: CircuitKey, now: int) -> Circuit:
        """The one that counts such calls; made with the first failure. Documents choose their policies, so of very many
        those are forgotten that are closed, else the oldest."""
        found = self.circuits.get(key)
        if found is None:
            if len(self.circuits) >= MAX_CIRCUITS:
                closed = (known for known, circuit in self.circuits.items() if circuit.state(now) == "closed")
                del self.circuits[next(closed, next(iter(self.circuits)))]
            found = self.circuits[key] = Circuit(key[1])
        return found

    def open_circuits(self, now: int) -> list[dict[str, object]]:
        """Those that are not closed, for people."""
        return [
            {
                "method": method,
                "state": circuit.state(now),
                "failures": circuit.failures,
                "retry_after_seconds": max(0, circuit.until - now) / 1000,
            }
            for (method, _), circuit in self.circuits.items()
            if circuit.state(now) != "closed"
        ]

    @property
    def free(self) -> int:
        if self.leaves:
            return 0
        most = self.capacity if self.share is None else min(self.capacity, self.share.places)
        return most - self.running

    @property
    def leaves(self) -> bool:
        """Whether it only finishes what it has."""
        return self.draining or self.drained


class Pool:
    """Tasks that compete for the same providers. With `circuit`, all of them are calls that this circuit counts; with
    `model`, all want that one. `rank` says which provider is chosen; None: the least loaded for its size."""

    __slots__ = ("circuit", "model", "passed", "providers", "queue", "rank", "retries")

    def __init__(
        self,
        providers: tuple[Provider, ...] = (),
        circuit: CircuitKey | None = None,
        rank: Rank | None = None,
        model: str = "",
    ) -> None:
        self.providers = providers
        self.circuit = circuit
        self.rank = rank
        self.model = model
        self.queue = Queue()
        self.retries = Queue()
        """What failed because its provider was not well, and takes its turn when the provider's budget allows."""
        self.passed = 0
        """How often in a row something more urgent of another pool was started in place of what is next here."""
        for provider in providers:
            provider.pools.append(self)

    def __len__(self) -> int:
        return self.queue.size + self.retries.size

    def choose(self, now: int, *, retry: bool = False) -> Provider | None:
        """The provider for the next task; None if none can take it."""
        best, least, rank = None, inf, self.rank
        for provider in self.providers:
            if provider.free > 0:
                ranked = provider.running / provider.capacity if rank is None else rank(provider, self.model)
                admitted = not provider.circuits or self._admits(provider, now)
                if ranked < least and admitted and (not retry or provider.budget.allows(now)):
                    best, least = provider, ranked
        return best

    def _admits(self, provider: Provider, now: int) -> bool:
        circuit = provider.circuits.get(self.circuit) if self.circuit is not None else None
        return circuit is None or circuit.admits(now)

    def open_circuits(self, now: int) -> list[tuple[Provider, Circuit]]:
        """Of the providers that could be called, those that are left alone now."""
        if self.circuit is None:
            return []
        found = ((provider, provider.circuits.get(self.circuit)) for provider in self.providers)
        return [(p, circuit) for p, circuit in found if circuit is not None and not circuit.admits(now)]

    def wakes(self, now: int) -> Iterator[int]:
        """When something may start that nothing but time holds back, of what waits here."""
        for provider in self.providers:
            if provider.free > 0:
                circuit = provider.circuits.get(self.circuit) if self.circuit is not None else None
                if circuit is not None and circuit.state(now) == "open":
                    yield circuit.until
                elif self.retries.size and self._admits(provider, now) and not provider.budget.allows(now):
                    yield provider.budget.allows_at(now)


def repeats(task: Task) -> bool:
    """Whether the next attempt of a task is a repetition because its provider was not well."""
    return task.failures > 0 and task.error is not None and breaker.speaks_of_provider(task.error)


def why_waiting_in(pool: Pool, task: Task, now: int) -> tuple[str, str]:
    """What is in the way of a task that is ready, but for its workflow: a word for machines, and a sentence."""
    if not pool.providers:
        at = f" and is called {task.definition.provider}" if task.definition.provider else ""
        return "no_provider", f"no provider serves {task.definition.method}{at}"
    staying = [provider for provider in pool.providers if not provider.leaves]
    if not staying:
        return "draining", f"every provider of {task.definition.method} is draining{_how_to_resume(pool.providers)}"
    shut = [(provider, circuit) for provider, circuit in pool.open_circuits(now) if not provider.leaves]
    if len(shut) == len(staying):
        return "circuit_open", _why_shut(task.definition.method, *shut[0], now)
    if repeats(task) and pool.choose(now) is not None and pool.choose(now, retry=True) is None:
        share = f"{breaker.RETRY_SHARE:.0%} of its calls and {breaker.RETRIES_PER_SECOND:g} a second"
        return "retry_budget", f"its provider is not well: repetitions may be {share} besides"
    if pool.choose(now) is None:
        few = next((p for p in staying if p.share is not None and p.share.places < p.capacity), None)
        if few is not None and few.share is not None:
            return "places", _why_no_place(few, few.share)
        total = sum(provider.capacity for provider in staying)
        return "busy", f"all {total} places for {task.definition.method} are taken"
    return "queued", "it is next in its queue"


def _how_to_resume(providers: Iterable[Provider]) -> str:
    """What an operator can do about it, where an operator has done it."""
    names = sorted({provider.name for provider in providers if provider.drained})
    return f" (`gz drain {names[0]} --undo` ends that)" if names else ""


def _why_shut(method: str, provider: Provider, circuit: Circuit, now: int) -> str:
    failed = f"{method} at {provider.name} failed {circuit.failures} times in a row"
    if circuit.state(now) == "half_open":
        return f"{failed}; {circuit.probes} calls try whether it is well again"
    return f"{failed}; it is tried again {how_soon((circuit.until - now) / 1000)}"


def _why_no_place(provider: Provider, share: Share) -> str:
    by = f" by the coordinator at {share.given_by}" * bool(share.given_by)
    ours = f"{share.places} of its {provider.capacity} are this coordinator's"
    return f"waits for a place at {provider.name} ({share.url}), given out{by}: {ours}"
