"""Which pool a task waits in: tasks whose methods the same providers serve share one, so that priorities hold between
methods too; those that name a provider, a model or a circuit breaker of their own have one beside it. A method whose
circuit has opened somewhere gets a pool of its own: others must not wait behind it.
"""

from collections.abc import Collection, Mapping, Sequence

from gleitzeit.engine.inputs import ProviderReady
from gleitzeit.engine.scheduling import breaker
from gleitzeit.engine.scheduling.awaited import Awaited
from gleitzeit.engine.scheduling.health import policy_of
from gleitzeit.engine.scheduling.pools import Pool, Provider, repeats
from gleitzeit.engine.scheduling.queue import Queue
from gleitzeit.engine.scheduling.strategies import RANKS, Rank
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.model.definition import BreakerPolicy
from gleitzeit.schemas.words import near
from gleitzeit.spec.strategies import strategy_of

CACHE = "$cache"
"""Stands for a provider where a task is next whose result may be known: look it up before it is called for."""
FLOW = "flow/begin"
"""Stands for a method where a task calls nobody, but has items or chooses between others."""
_UNLISTED = "$unlisted"
"""Stands for every model that nobody lists."""
MAX_LOOKUPS = 1_000_000
MAX_LIKELY = 1_000
SPARE_POOLS = 1_000
"""So many may be there in which nothing waits, before they are looked through."""


class Grouping:
    """The pools of a roster. That is its owner's, who has them formed anew when it changes; and so is `looked_up`: the
    tasks whose result was looked up in vain."""

    def __init__(self, roster: Mapping[str, Provider], awaited: Awaited, looked_up: Collection[Task]) -> None:
        self._roster = roster
        self._awaited = awaited
        self._looked_up = looked_up
        self.form({}, ())

    def form(self, strategies: Mapping[str, str], apart: Collection[str]) -> None:
        """New pools, with nothing in them.

        `strategies`: by which the provider for a call is chosen, as `spec.strategies` reads them. `apart`: methods that
        have a pool of their own, as a circuit of theirs has opened.
        """
        serving: dict[str, list[str]] = {}
        for instance in sorted(self._roster):
            for method in sorted(self._roster[instance].methods):
                serving.setdefault(method, []).append(instance)
        for provider in self._roster.values():
            provider.pools = []
        self.awaiting = Pool()
        """Of those that wait for who may be on the way."""
        self.lookups = _lookups()
        """Of those whose result may be known."""
        self._unserved = Pool()
        self._likely: dict[str, str] = {}
        """Of models that nobody lists, the provider that is asked."""
        self._pool_of: dict[str | tuple[str, str, str, BreakerPolicy | None], Pool] = {}
        """By method; as they come, by method, provider's name, model and the workflow's own circuit breaker for tasks
        that not every provider can take."""
        self._many_pools = SPARE_POOLS
        pools: dict[tuple[Rank | str | None, ...], Pool] = {}
        for method, instances in serving.items():
            alone, rank = method in apart, RANKS[strategy_of(method, strategies)]
            key = (rank, method, *instances) if alone else (rank, *instances)
            if key not in pools:
                pools[key] = Pool(
                    tuple(self._roster[i] for i in instances), (method, breaker.DEFAULT) if alone else None, rank
                )
            self._pool_of[method] = pools[key]
        self.pools = [self._unserved, self.awaiting, self.lookups, *pools.values()]
        """In the order in which they have their turn."""

    def queue_of(self, workflow: Workflow, task: Task, now: int) -> Queue:
        """Where a task waits that is ready."""
        pool = self.pool_of(workflow, task, now)
        return pool.retries if task.failures and repeats(task) else pool.queue

    def pool_of(self, workflow: Workflow, task: Task, now: int) -> Pool:
        definition = task.definition
        if definition.switch is not None or task.expands:
            return self._pool_of.get(FLOW, self._unserved)
        if definition.cache is not None and task not in self._looked_up:
            return self.lookups
        pool = self._pool_of.get(definition.method, self._unserved)
        model = _model_of(task, pool.providers) if task.models else ""
        if task.models and model in ("", _UNLISTED) and pool.providers and self._awaits(task, model, now):
            return self.awaiting
        own = policy_of(workflow, definition) if workflow.definition.breakers else None
        name = definition.provider or (self._likeliest(task, pool.providers) if model == _UNLISTED else "")
        if name or model or own is not None:
            return self._pool_at(pool, definition.method, name, model, own)
        return pool

    def _likeliest(self, task: Task, providers: Sequence[Provider]) -> str:
        """Of providers that all list their models, the name of the one that has such a model as the task asks for: it
        may have that, too, and knows best what was meant if it has not. Empty if there is none."""
        model = task.models[task.place]
        if model not in self._likely:
            if len(self._likely) >= MAX_LIKELY:
                self._likely.clear()
            listed = {known: one.name for one in providers for known in one.models}
            found = near(model, listed) if all(one.models for one in providers) else ""
            self._likely[model] = listed.get(found, "")
        return self._likely[model]

    def _awaits(self, task: Task, model: str, now: int) -> bool:
        """Whether a task whose model nobody lists waits for a provider that may come and does. Where none lists any,
        they may have it, unless somebody had it who has left."""
        return not task.definition.provider and self.awaited_until(task, model) > now

    def awaited_until(self, task: Task, model: str = _UNLISTED) -> int:
        """When a task of `awaiting` goes to any other provider."""
        names_more = task.alternative < len(task.definition.fallback) and not task.turned_back
        left = self._awaited.who_left(task.models[task.place :], names_more=names_more)
        return max(left, self._awaited.who_starts(task.definition.method, names_more=names_more)) if model else left

    def _pool_at(self, wide: Pool, method: str, name: str, model: str, own: BreakerPolicy | None) -> Pool:
        """For tasks that only providers of that name may have, and of those the ones that hold the model, if any do;
        else those that do not say which they have."""
        pool = self._pool_of.get((method, name, model, own))
        if pool is None:
            named = [provider for provider in wide.providers if not name or provider.name == name]
            chosen = tuple(p for p in named if model in p.models) or tuple(p for p in named if not p.models)
            chosen = chosen if chosen and model else tuple(named)
            circuit, wanted = (method, own or breaker.DEFAULT), "" if model == _UNLISTED else model
            pool = self._pool_of[method, name, model, own] = Pool(chosen, circuit, wide.rank, wanted)
            self.pools.append(pool)
        return pool

    @property
    def crowded(self) -> bool:
        """Whether it is time to `prune`: workflows may name any number of models, providers and circuit breakers."""
        return len(self.pools) > self._many_pools

    def prune(self, used: Collection[Queue]) -> None:
        """Forget pools that nobody is in, but for those whose queues are `used` elsewhere."""
        spare = {
            pool: key
            for key, pool in self._pool_of.items()
            if isinstance(key, tuple) and not len(pool) and pool.queue not in used and pool.retries not in used
        }
        for key in spare.values():
            del self._pool_of[key]
        self.pools = [pool for pool in self.pools if pool not in spare]
        for provider in {provider for pool in spare for provider in pool.providers}:
            provider.pools = [pool for pool in provider.pools if pool not in spare]
        self._many_pools = 2 * len(self.pools) + SPARE_POOLS

    def serving(self, method: str) -> Pool:
        """For the tasks of a method that ask for nothing in particular."""
        return self._pool_of.get(method, self._unserved)

    def place_after(self, task: Task, models: Sequence[str], instance: str) -> int:
        """Which of its models a task turns to after this instance: the first of which no provider has been asked for it
        yet that may have it; 0 if there is none."""
        name, asked = task.definition.provider, set(models[: task.place + 1])
        tried = self._roster.get(instance)
        others = [
            provider
            for provider in self.serving(task.definition.method).providers
            if (not name or provider.name == name) and provider is not tried and asked.isdisjoint(provider.models)
        ]
        same = tried.name if tried is not None else ""
        for place, model in enumerate(models):
            if place <= task.place or (tried is not None and model in tried.models):
                continue
            if any(model in provider.models or (not provider.models and provider.name != same) for provider in others):
                return place
        return 0


def _lookups() -> Pool:
    return Pool((Provider(ProviderReady(CACHE, CACHE, frozenset(), MAX_LOOKUPS)),))


def _model_of(task: Task, providers: Sequence[Provider]) -> str:
    """Which of its models decides where the task goes: the first, from its place on, that somebody holds.

    A task with several is called with all of them.
    """
    for model in task.models[task.place :]:
        if any(model in provider.models for provider in providers):
            return model
    return _UNLISTED if any(provider.models for provider in providers) else ""
