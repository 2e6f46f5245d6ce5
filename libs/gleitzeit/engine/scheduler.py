"""What spans workflows: who is alive, what waits for whom, and who is next. Pure, and never journaled: the coordinator
rebuilds it at start from the ready and the running tasks and the providers that report.

Tasks whose methods the same providers serve share one queue (a *pool*), so that priorities hold between methods too.
"""

from collections.abc import Iterable

from gleitzeit.engine.effects import ProviderReady
from gleitzeit.engine.queue import Lane, Queue
from gleitzeit.engine.workflow import Task, Workflow

CACHE = "$cache"
"""Stands for a provider where a task is next whose result may be known: look it up before it is called for."""
MAX_LOOKUPS = 1_000_000


class Provider:
    """A live provider process and how much of it is in use."""

    __slots__ = ("capacity", "draining", "instance", "methods", "models", "name", "running", "started")

    def __init__(self, ready: ProviderReady, running: int = 0) -> None:
        self.running = running
        self.started = 0
        self.draining = False
        self.update(ready)

    def update(self, ready: ProviderReady) -> None:
        self.name = ready.name
        self.instance = ready.instance
        self.methods = ready.methods
        self.models = ready.models
        self.capacity = ready.capacity

    @property
    def free(self) -> int:
        return 0 if self.draining else self.capacity - self.running


class Pool:
    __slots__ = ("providers", "queue")

    def __init__(self, providers: tuple[Provider, ...] = ()) -> None:
        self.providers = providers
        self.queue = Queue()

    def choose(self) -> Provider | None:
        """The provider for the next task: the least loaded for its size; None if all are full."""
        best, load = None, 1.0
        for provider in self.providers:
            if provider.free > 0:
                share = provider.running / provider.capacity
                if share < load:
                    best, load = provider, share
        return best


class Scheduler:
    def __init__(self) -> None:
        self.roster: dict[str, Provider] = {}
        """By instance."""
        self.held: set[str] = set()
        """Ids of workflows that may start nothing, without a word of it in their streams."""
        self._unserved = Pool()
        self._pools: list[Pool] = []
        self._pool_of: dict[str | tuple[str, str, str], Pool] = {}
        """By method; as they come, by method, provider's name and model for tasks that not every provider can take."""
        self.looked_up: set[Task] = set()
        """Tasks whose result was looked up in vain: now they are called for."""
        self._lookups = _lookups()
        self._parked: dict[str, list[Lane]] = {}
        """Out of the queues because their workflow may start nothing now (paused, held, at `max_parallel`)."""
        self._running: dict[str, int] = {}
        """Calls under way, by workflow."""
        self._load: dict[str, int] = {}
        """Calls under way, by instance, also of those that are not connected at the moment."""
        self._regroup()

    # Providers

    def provider_ready(self, ready: ProviderReady) -> None:
        known = self.roster.get(ready.instance)
        if known is None:
            self.roster[ready.instance] = Provider(ready, self._load.get(ready.instance, 0))
        else:
            known.update(ready)
        self._regroup()

    def provider_gone(self, instance: str) -> None:
        if self.roster.pop(instance, None) is not None:
            self._regroup()

    def _regroup(self) -> None:
        """Form the pools anew after a change of the roster, and queue again what now belongs elsewhere."""
        serving: dict[str, list[str]] = {}
        for instance in sorted(self.roster):
            for method in sorted(self.roster[instance].methods):
                serving.setdefault(method, []).append(instance)
        self._unpark_all()
        old, self._unserved, self._lookups, self._pool_of = self._pools, Pool(), _lookups(), {}
        pools: dict[tuple[str, ...], Pool] = {}
        for method, instances in serving.items():
            key = tuple(instances)
            if key not in pools:
                pools[key] = Pool(tuple(self.roster[i] for i in key))
            self._pool_of[method] = pools[key]
        self._pools = [self._unserved, self._lookups, *pools.values()]
        for pool in old:
            for workflow, task in pool.queue:
                self._pool(task).queue.push(workflow, task)

    def _pool(self, task: Task) -> Pool:
        definition = task.definition
        if definition.cache is not None and task not in self.looked_up:
            return self._lookups
        pool = self._pool_of.get(definition.method, self._unserved)
        model = task.model if any(task.model in provider.models for provider in pool.providers) else ""
        if definition.provider or model:
            return self._pool_at(pool, definition.method, definition.provider, model)
        return pool

    def _pool_at(self, wide: Pool, method: str, name: str, model: str) -> Pool:
        """For tasks that only providers of that name may have, and of those the ones that hold the model, if any do."""
        pool = self._pool_of.get((method, name, model))
        if pool is None:
            named = [provider for provider in wide.providers if not name or provider.name == name]
            pool = Pool(tuple(provider for provider in named if model in provider.models) or tuple(named))
            self._pool_of[method, name, model] = pool
            self._pools.append(pool)
        return pool

    # Tasks

    @property
    def queued(self) -> int:
        parked = sum(len(lane.tasks) for lanes in self._parked.values() for lane in lanes)
        return parked + sum(len(pool.queue) for pool in self._pools)

    def add(self, workflow: Workflow, tasks: Iterable[Task]) -> None:
        """Queue tasks that are ready."""
        for task in tasks:
            self._pool(task).queue.push(workflow, task)

    def may_start(self, workflow: Workflow) -> bool:
        if workflow.state == "paused" or workflow.id in self.held:
            return False
        limit = workflow.definition.max_parallel
        return limit is None or self._running.get(workflow.id, 0) < limit

    def next(self) -> tuple[Workflow, Task, Provider] | None:
        """What starts next, and where; None if nothing can. The taker must then call `started`, or drop the task."""
        for _ in range(len(self._pools)):
            pool = self._pools[0]
            if len(pool.queue) and (provider := pool.choose()) is not None:
                found = self._take(pool.queue)
                if found is not None:
                    return *found, provider
            self._pools.append(self._pools.pop(0))
        return None

    def _take(self, queue: Queue) -> tuple[Workflow, Task] | None:
        while (lane := queue.lane()) is not None:
            if not self.may_start(lane.workflow):
                self._parked.setdefault(lane.workflow.id, []).extend(queue.detach(lane.workflow.id))
                continue
            task = queue.take(lane)
            if task.state == "ready" and self._pool(task).queue is queue:  # what fell back belongs elsewhere
                return lane.workflow, task
        return None

    def unpark(self, workflow: Workflow) -> None:
        """Queue again what was parked, if the workflow may start something now."""
        if workflow.id in self._parked and self.may_start(workflow):
            for lane in self._parked.pop(workflow.id):
                lane.queue.attach(lane)

    def _unpark_all(self) -> None:
        for lanes in self._parked.values():
            for lane in lanes:
                lane.queue.attach(lane)
        self._parked.clear()

    def forget(self, workflow: Workflow) -> None:
        """The workflow has ended: nothing of it waits any more."""
        self._parked.pop(workflow.id, None)
        self.held.discard(workflow.id)
        for pool in self._pools:
            pool.queue.detach(workflow.id)
        if self.looked_up:
            self.looked_up.difference_update(workflow.tasks.values())

    def started(self, workflow: Workflow, instance: str) -> None:
        self._running[workflow.id] = self._running.get(workflow.id, 0) + 1
        self._load[instance] = self._load.get(instance, 0) + 1
        provider = self.roster.get(instance)
        if provider is not None:
            provider.running += 1
            provider.started += 1

    def ended(self, workflow: Workflow, instance: str) -> None:
        _decrement(self._running, workflow.id)
        _decrement(self._load, instance)
        provider = self.roster.get(instance)
        if provider is not None:
            provider.running -= 1
        if workflow.id in self._parked:
            self.unpark(workflow)

    def why_waiting(self, workflow: Workflow, task: Task) -> tuple[str, str]:
        """The reason in one machine-readable word, and in one sentence, why a ready task has not started."""
        if workflow.id in self.held:
            return "held", "the workflow is held: resume it to go on"
        if workflow.state == "paused":
            return "paused", "the workflow is paused: resume it to go on"
        limit = workflow.definition.max_parallel
        if limit is not None and self._running.get(workflow.id, 0) >= limit:
            return "max_parallel", f"the workflow already runs {limit} tasks, which is its max_parallel"
        pool = self._pool(task)
        if not pool.providers:
            at = f" and is called {task.definition.provider}" if task.definition.provider else ""
            return "no_provider", f"no provider serves {task.definition.method}{at}"
        if all(provider.draining for provider in pool.providers):
            return "draining", f"every provider of {task.definition.method} is draining"
        if pool.choose() is None:
            total = sum(provider.capacity for provider in pool.providers)
            return "busy", f"all {total} places for {task.definition.method} are taken"
        return "queued", "it is next in its queue"


def _lookups() -> Pool:
    return Pool((Provider(ProviderReady(CACHE, CACHE, frozenset(), MAX_LOOKUPS)),))


def _decrement(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
