"""What spans workflows: who is alive, what waits for whom, and who is next. Pure, and never journaled: the coordinator
rebuilds it at start from the ready and the running tasks and the providers that report.

Tasks whose methods the same providers serve share one queue (a *pool*), so that priorities hold between methods too.
Where pools share only some of their providers, the more urgent task goes first at each of those; a pool that is passed
over PATIENCE times in a row is served all the same, and pools that want equally urgent things take turns.
A method whose circuit has opened somewhere gets a pool of its own: others must not wait behind it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter

from gleitzeit.engine.inputs import ProviderReady, ProvidersDrained
from gleitzeit.engine.scheduling import breaker
from gleitzeit.engine.scheduling.awaited import Awaited
from gleitzeit.engine.scheduling.breaker import Circuit
from gleitzeit.engine.scheduling.health import Health, policy_of
from gleitzeit.engine.scheduling.pools import Pool, Provider, repeats, why_waiting_in
from gleitzeit.engine.scheduling.queue import PATIENCE, Lane, Queue
from gleitzeit.engine.scheduling.strategies import RANKS, Rank
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.model.definition import BreakerPolicy
from gleitzeit.schemas.words import near
from gleitzeit.spec.durations import how_soon
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


class Scheduler:
    def __init__(self) -> None:
        self.now = 0
        """UTC milliseconds, kept by the owner."""
        self.roster: dict[str, Provider] = {}
        """By instance."""
        self.health = Health(self.roster)
        self.drained = ProvidersDrained()
        self.held: set[str] = set()
        """Ids of workflows that may start nothing, without a word of it in their streams."""
        self.blocked: dict[str, str] = {}
        """Workflows that may start nothing before they have a permit of this key."""
        self._unserved = Pool()
        self._awaited, self._awaiting = Awaited(), Pool()
        """Who may be on the way, and the tasks that wait for that."""
        self._likely: dict[str, str] = {}
        """Of models that nobody lists, the provider that is asked."""
        self._pools: list[Pool] = []
        self._many_pools = SPARE_POOLS
        self._pool_of: dict[str | tuple[str, str, str, BreakerPolicy | None], Pool] = {}
        """By method; as they come, by method, provider's name, model and the workflow's own circuit breaker for tasks
        that not every provider can take."""
        self._apart: set[str] = set()
        """Methods that have a pool of their own, as a circuit of theirs has opened."""
        self.looked_up: set[Task] = set()
        """Tasks whose result was looked up in vain: now they are called for."""
        self._lookups = _lookups()
        self._parked: dict[str, list[Lane]] = {}
        """Out of the queues because their workflow may start nothing now (paused, held, at `max_parallel`)."""
        self._parked_tasks = 0
        self._running: dict[str, int] = {}
        """Calls under way, by workflow."""
        self._load: dict[str, int] = {}
        """Calls under way, by instance, also of those that are not connected at the moment."""
        self._strategies: Mapping[str, str] = {}
        self._starts = 0
        """Calls that were ever under way."""
        self._regroup()

    # Providers

    def provider_ready(self, ready: ProviderReady) -> None:
        known = self.roster.get(ready.instance)
        if known is None:
            provider = self.roster[ready.instance] = Provider(ready, self._load.get(ready.instance, 0))
            self._awaited.came(ready.name, ready.methods, self.now)
            self.health.came(provider)
        else:
            known.update(ready)
        self._mark_drained(self.roster[ready.instance])
        self._regroup()

    def drain(self, drained: ProvidersDrained) -> None:
        """These get nothing more; all others do, also those that did not before."""
        self.drained = drained
        for provider in self.roster.values():
            self._mark_drained(provider)

    def _mark_drained(self, provider: Provider) -> None:
        drained = self.drained
        provider.drained = provider.name in drained.names or provider.instance in drained.instances

    def provider_gone(self, instance: str) -> None:
        provider = self.roster.pop(instance, None)
        if provider is None:
            return
        provider.pools = []
        self.health.left(provider)
        self._awaited.left(provider.models, self.now)
        self._regroup()

    def expect(self, names: Collection[str], now: int) -> None:
        """Providers of these names are started with us; no others are waited for."""
        self._awaited.expect(names, now)

    def use(self, strategies: Mapping[str, str]) -> None:
        """By which the provider for a call is chosen, as `spec.strategies` reads them."""
        self._strategies = strategies
        self._regroup()

    def _rank(self, method: str) -> Rank | None:
        return RANKS[strategy_of(method, self._strategies)]

    def begin(self, now: int) -> None:
        """There is work to go on with, from before our start."""
        if not self.roster:
            self._awaited.begin(now)

    def _regroup(self) -> None:
        """Form the pools anew after a change of the roster, and queue again what now belongs elsewhere."""
        serving: dict[str, list[str]] = {}
        for instance in sorted(self.roster):
            for method in sorted(self.roster[instance].methods):
                serving.setdefault(method, []).append(instance)
        self._unpark_all()
        old, self._unserved, self._lookups, self._pool_of = self._pools, Pool(), _lookups(), {}
        self._awaiting, self._likely = Pool(), {}
        for provider in self.roster.values():
            provider.pools = []
        pools: dict[tuple[Rank | str | None, ...], Pool] = {}
        for method, instances in serving.items():
            apart, rank = method in self._apart, self._rank(method)
            key = (rank, method, *instances) if apart else (rank, *instances)
            if key not in pools:
                pools[key] = Pool(
                    tuple(self.roster[i] for i in instances), (method, breaker.DEFAULT) if apart else None, rank
                )
            self._pool_of[method] = pools[key]
        self._pools = [self._unserved, self._awaiting, self._lookups, *pools.values()]
        for pool in old:
            for queue in (pool.queue, pool.retries):
                for workflow, task in queue:
                    self._queue(workflow, task).push(workflow, task)

    def _queue(self, workflow: Workflow, task: Task) -> Queue:
        """Where a task waits that is ready."""
        pool = self._pool(workflow, task)
        return pool.retries if task.failures and repeats(task) else pool.queue

    def _pool(self, workflow: Workflow, task: Task) -> Pool:
        definition = task.definition
        if definition.switch is not None or task.expands:
            return self._pool_of.get(FLOW, self._unserved)
        if definition.cache is not None and task not in self.looked_up:
            return self._lookups
        pool = self._pool_of.get(definition.method, self._unserved)
        model = _model_of(task, pool.providers) if task.models else ""
        if task.models and model in ("", _UNLISTED) and pool.providers and self._awaits(task, model):
            return self._awaiting
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

    def _awaits(self, task: Task, model: str) -> bool:
        """Whether a task whose model nobody lists waits for a provider that may come and does. Where none lists any,
        they may have it, unless somebody had it who has left."""
        return not task.definition.provider and self._awaited_until(task, model) > self.now

    def _awaited_until(self, task: Task, model: str = _UNLISTED) -> int:
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
            if len(self._pools) >= self._many_pools:
                self._prune_pools()
            circuit, wanted = (method, own or breaker.DEFAULT), "" if model == _UNLISTED else model
            pool = self._pool_of[method, name, model, own] = Pool(chosen, circuit, wide.rank, wanted)
            self._pools.append(pool)
        return pool

    def _prune_pools(self) -> None:
        """Workflows may name any number of models, providers and circuit breakers: forget pools that nobody is in."""
        parked = {lane.queue for lanes in self._parked.values() for lane in lanes}
        spare = {
            pool: key
            for key, pool in self._pool_of.items()
            if isinstance(key, tuple) and not len(pool) and parked.isdisjoint((pool.queue, pool.retries))
        }
        for key in spare.values():
            del self._pool_of[key]
        self._pools = [pool for pool in self._pools if pool not in spare]
        for provider in {provider for pool in spare for provider in pool.providers}:
            provider.pools = [pool for pool in provider.pools if pool not in spare]
        self._many_pools = 2 * len(self._pools) + SPARE_POOLS

    # Tasks

    @property
    def queued(self) -> int:
        return self._parked_tasks + sum(map(len, self._pools))

    def add(self, workflow: Workflow, tasks: Iterable[Task]) -> None:
        """Queue tasks that are ready."""
        for task in tasks:
            self._queue(workflow, task).push(workflow, task)

    def may_start(self, workflow: Workflow) -> bool:
        if workflow.state == "paused" or workflow.id in self.held or workflow.id in self.blocked:
            return False
        limit = workflow.definition.max_parallel
        return limit is None or self._running.get(workflow.id, 0) < limit

    def next(self) -> tuple[Workflow, Task, Provider] | None:
        """What starts next, and where; None if nothing can. The taker must then call `started`, or drop the task."""
        if self._awaited.is_over(self.now) and len(self._awaiting):
            self._regroup()
        pools = self._pools
        for place in range(len(pools)):
            for queue in (pools[place].retries, pools[place].queue):
                if queue.size and (found := self._next_of(pools[place], queue)) is not None:
                    # Its turn is over: others may share its providers.
                    self._pools = self._pools[place + 1 :] + self._pools[: place + 1]
                    return found
        return None

    def _next_of(self, pool: Pool, queue: Queue) -> tuple[Workflow, Task, Provider] | None:
        """What starts next out of a pool; or in its place, as that is more urgent and could go to the same provider."""
        provider = pool.choose(self.now, retry=queue is pool.retries)
        if provider is None:
            return None
        if len(provider.pools) > 1 and pool.passed < PATIENCE:
            level = self._level(queue)
            rivals = [rival for rival in provider.pools if rival.queue.size and rival.queue.has_above(level)]
            levels = [(self._level(rival.queue), rival) for rival in rivals]
            for above, rival in sorted(levels, key=itemgetter(0), reverse=True):
                if above > level and (found := self._next_of(rival, rival.queue)) is not None:
                    pool.passed += 1
                    return found
        taken = self._take(queue)
        if taken is None:
            return None
        pool.passed = 0
        if pool.model and pool.rank is not None:
            provider.remember(pool.model, self._starts + 1)
        return *taken, provider

    def wake_at(self) -> int | None:
        """When to ask `next` again although nothing has happened."""
        times = [at for pool in self._pools if pool.queue.size or pool.retries.size for at in pool.wakes(self.now)]
        if len(self._awaiting) and self._awaited.next_end is not None:
            times.append(self._awaited.next_end)
        return min(times, default=None)

    def _level(self, queue: Queue) -> int:
        """The highest at which something may start; -1 if nothing may."""
        while (lane := queue.top()) is not None and not self.may_start(lane.workflow):
            self._park(queue, lane.workflow)
        return -1 if lane is None else lane.level

    def _park(self, queue: Queue, workflow: Workflow) -> None:
        lanes = queue.detach(workflow.id)
        self._parked_tasks += sum(map(len, lanes))
        self._parked.setdefault(workflow.id, []).extend(lanes)

    def _parked_of(self, workflow_id: str) -> list[Lane]:
        """Out of what is parked."""
        lanes = self._parked.pop(workflow_id, [])
        self._parked_tasks -= sum(map(len, lanes))
        return lanes

    def _take(self, queue: Queue) -> tuple[Workflow, Task] | None:
        while (lane := queue.lane()) is not None:
            if not self.may_start(lane.workflow):
                self._park(queue, lane.workflow)
                continue
            task = queue.take(lane)
            if task.state == "ready" and self._queue(lane.workflow, task) is queue:  # what fell back belongs elsewhere
                return lane.workflow, task
        return None

    def unpark(self, workflow: Workflow) -> None:
        """Queue again what was parked, if the workflow may start something now."""
        if workflow.id in self._parked and self.may_start(workflow):
            for lane in self._parked_of(workflow.id):
                lane.queue.attach(lane)

    def _unpark_all(self) -> None:
        for lanes in self._parked.values():
            for lane in lanes:
                lane.queue.attach(lane)
        self._parked.clear()
        self._parked_tasks = 0

    def forget(self, workflow: Workflow) -> None:
        """The workflow has ended: nothing of it waits any more."""
        self._parked_of(workflow.id)
        self.held.discard(workflow.id)
        for pool in self._pools:
            pool.queue.detach(workflow.id)
            pool.retries.detach(workflow.id)
        if self.looked_up:
            self.looked_up.difference_update(workflow.tasks.values())

    def started(self, workflow: Workflow, instance: str) -> None:
        self._running[workflow.id] = self._running.get(workflow.id, 0) + 1
        self._load[instance] = self._load.get(instance, 0) + 1
        self._starts += 1
        provider = self.roster.get(instance)
        if provider is not None:
            provider.begin(self._starts)

    def ended(self, workflow: Workflow, instance: str) -> None:
        _decrement(self._running, workflow.id)
        _decrement(self._load, instance)
        provider = self.roster.get(instance)
        if provider is not None:
            provider.running -= 1
        if workflow.id in self._parked:
            self.unpark(workflow)

    def leave(self, call: Call) -> None:
        """A call is over, in whatever way."""
        self.health.leave(call)
        self.ended(call.workflow, call.instance)

    # What providers that are not well mean for those that wait

    def failed(self, call: Call) -> bool:
        """Its provider is not well. True if that opens a circuit."""
        return self._opened(call, self.health.failed(call, self.now))

    def lost(self, call: Call) -> bool:
        """Its connection has ended with it (see `Health.lost`). True if that opens a circuit."""
        return self._opened(call, self.health.lost(call, self.now))

    def _opened(self, call: Call, circuit: Circuit | None) -> bool:
        if circuit is None:
            return False
        shared = self._pool_of.get(call.method)
        if (shared is None or shared.circuit is None) and circuit.policy == breaker.DEFAULT:
            self._apart.add(call.method)
            self._regroup()
        return True

    def shut_out(self, workflow: Workflow, task: Task) -> bool:
        """Whether every provider that a ready task could go to is left alone now, for their failures."""
        pool = self._pool(workflow, task)
        return bool(pool.providers) and len(pool.open_circuits(self.now)) == len(pool.providers)

    def place_after(self, task: Task, models: Sequence[str], instance: str) -> int:
        """Which of its models a task turns to after this instance: the first of which no provider has been asked for it
        yet that may have it; 0 if there is none."""
        pool = self._pool_of.get(task.definition.method, self._unserved)
        name, asked = task.definition.provider, set(models[: task.place + 1])
        tried = self.roster.get(instance)
        others = [
            provider
            for provider in pool.providers
            if (not name or provider.name == name) and provider is not tried and asked.isdisjoint(provider.models)
        ]
        same = tried.name if tried is not None else ""
        for place, model in enumerate(models):
            if place <= task.place or (tried is not None and model in tried.models):
                continue
            if any(model in provider.models or (not provider.models and provider.name != same) for provider in others):
                return place
        return 0

    def waiting_for(self, provider: Provider) -> int:
        """How many tasks could go to it now, if it had places."""
        return 0 if provider.leaves else sum(len(pool) for pool in self._pools if provider in pool.providers)

    def waiting(self, method: str) -> list[tuple[Workflow, Task]]:
        """The tasks that wait to call a method whose circuit is open somewhere."""
        pools = (pool for pool in self._pools if pool.circuit is not None and pool.circuit[0] == method)
        return [found for pool in pools for queue in (pool.queue, pool.retries) for found in queue]

    def why_waiting(self, workflow: Workflow, task: Task, now: int = 0) -> tuple[str, str]:
        """The reason in one machine-readable word, and in one sentence, why a ready task has not started.

        `now` if that is later than the last turn."""
        now = max(now, self.now)
        if workflow.id in self.held:
            return "held", "the workflow is held: resume it to go on"
        if workflow.state == "paused":
            return "paused", "the workflow is paused: resume it to go on"
        limit = workflow.definition.max_parallel
        if limit is not None and self._running.get(workflow.id, 0) >= limit:
            return "max_parallel", f"the workflow already runs {limit} tasks, which is its max_parallel"
        pool = self._pool(workflow, task)
        if pool is self._lookups:
            return "cache", "it is looked up whether the result of an equal call is kept"
        if pool is self._awaiting:
            left = how_soon(max(0, self._awaited_until(task) - now) / 1000)
            named = " or ".join(task.models[task.place :])
            return "no_provider", f"no provider lists {named}; one that does may be starting: {left} any other is asked"
        return why_waiting_in(pool, task, now)


def _lookups() -> Pool:
    return Pool((Provider(ProviderReady(CACHE, CACHE, frozenset(), MAX_LOOKUPS)),))


def _decrement(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]


def _model_of(task: Task, providers: Sequence[Provider]) -> str:
    """Which of its models decides where the task goes: the first, from its place on, that somebody holds.

    A task with several is called with all of them.
    """
    for model in task.models[task.place :]:
        if any(model in provider.models for provider in providers):
            return model
    return _UNLISTED if any(provider.models for provider in providers) else ""
