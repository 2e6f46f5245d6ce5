"""What spans workflows: who is alive, what waits for whom, and who is next. Pure, and never journaled: the coordinator
rebuilds it at start from the ready and the running tasks and the providers that report.

Tasks that want the same providers wait in one pool (see `grouping`). Where pools share only some of their providers,
the more urgent task goes first at each of those; a pool that is passed over PATIENCE times in a row is served all the
same, and pools that want equally urgent things take turns.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter

from gleitzeit.engine.inputs import ProviderReady, ProvidersDrained
from gleitzeit.engine.scheduling import breaker
from gleitzeit.engine.scheduling.awaited import Awaited
from gleitzeit.engine.scheduling.breaker import Circuit
from gleitzeit.engine.scheduling.grouping import Grouping
from gleitzeit.engine.scheduling.health import Health
from gleitzeit.engine.scheduling.pools import Pool, Provider, why_waiting_in
from gleitzeit.engine.scheduling.queue import PATIENCE, Lane, Queue
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.spec.durations import how_soon


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
        self.looked_up: set[Task] = set()
        """Tasks whose result was looked up in vain: now they are called for."""
        self._awaited = Awaited()
        """Who may be on the way."""
        self._groups = Grouping(self.roster, self._awaited, self.looked_up)
        self._apart: set[str] = set()
        """Methods that have a pool of their own, as a circuit of theirs has opened."""
        self._parked: dict[str, list[Lane]] = {}
        """Out of the queues because their workflow may start nothing now (paused, held, at `max_parallel`,
        or because what its budget leaves is lent)."""
        self._parked_tasks = 0
        self._running: dict[str, int] = {}
        """Calls under way, by workflow."""
        self._load: dict[str, int] = {}
        """Calls under way, by instance, also of those that are not connected at the moment."""
        self._strategies: Mapping[str, str] = {}
        self._starts = 0
        """Calls that were ever under way."""

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

    def begin(self, now: int) -> None:
        """There is work to go on with, from before our start."""
        if not self.roster:
            self._awaited.begin(now)

    def _regroup(self) -> None:
        """Form the pools anew after a change of the roster, and queue again what now belongs elsewhere."""
        self._unpark_all()
        old = self._groups.pools
        self._groups.form(self._strategies, self._apart)
        for pool in old:
            for queue in (pool.queue, pool.retries):
                for workflow, task in queue:
                    self._queue(workflow, task).push(workflow, task)

    def _queue(self, workflow: Workflow, task: Task) -> Queue:
        return self._groups.queue_of(workflow, task, self.now)

    def _pool(self, workflow: Workflow, task: Task) -> Pool:
        return self._groups.pool_of(workflow, task, self.now)

    # Tasks

    @property
    def queued(self) -> int:
        return self._parked_tasks + sum(map(len, self._groups.pools))

    def add(self, workflow: Workflow, tasks: Iterable[Task]) -> None:
        """Queue tasks that are ready."""
        for task in tasks:
            self._queue(workflow, task).push(workflow, task)
        if self._groups.crowded:
            self._groups.prune({lane.queue for lanes in self._parked.values() for lane in lanes})

    def may_start(self, workflow: Workflow) -> bool:
        if workflow.state == "paused" or workflow.id in self.held or workflow.id in self.blocked:
            return False
        if workflow.meter is not None and workflow.meter.is_lent(workflow.definition.budget):
            return False
        limit = workflow.definition.max_parallel
        return limit is None or self._running.get(workflow.id, 0) < limit

    def next(self) -> tuple[Workflow, Task, Provider] | None:
        """What starts next, and where; None if nothing can. The taker must then call `started`, or drop the task."""
        groups = self._groups
        if self._awaited.is_over(self.now) and len(groups.awaiting):
            self._regroup()
        pools = groups.pools
        for place in range(len(pools)):
            for queue in (pools[place].retries, pools[place].queue):
                if queue.size and (found := self._next_of(pools[place], queue)) is not None:
                    # Its turn is over: others may share its providers.
                    groups.pools = groups.pools[place + 1 :] + groups.pools[: place + 1]
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
        times = [
            at for pool in self._groups.pools if pool.queue.size or pool.retries.size for at in pool.wakes(self.now)
        ]
        if len(self._groups.awaiting) and self._awaited.next_end is not None:
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
        for pool in self._groups.pools:
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
        if self._groups.serving(call.method).circuit is None and circuit.policy == breaker.DEFAULT:
            self._apart.add(call.method)
            self._regroup()
        return True

    def shut_out(self, workflow: Workflow, task: Task) -> bool:
        """Whether every provider that a ready task could go to is left alone now, for their failures."""
        pool = self._pool(workflow, task)
        return bool(pool.providers) and len(pool.open_circuits(self.now)) == len(pool.providers)

    def place_after(self, task: Task, models: Sequence[str], instance: str) -> int:
        """Which of its models a task turns to after this instance; 0 if there is none."""
        return self._groups.place_after(task, models, instance)

    def waiting_for(self, provider: Provider) -> int:
        """How many tasks could go to it now, if it had places."""
        return 0 if provider.leaves else sum(len(pool) for pool in self._groups.pools if provider in pool.providers)

    def waiting(self, method: str) -> list[tuple[Workflow, Task]]:
        """The tasks that wait to call a method whose circuit is open somewhere."""
        pools = (pool for pool in self._groups.pools if pool.circuit is not None and pool.circuit[0] == method)
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
        if workflow.meter is not None and workflow.meter.is_lent(workflow.definition.budget):
            return "budget", "calls that run may yet need what is left of the workflow's budget of calls"
        pool = self._pool(workflow, task)
        if pool is self._groups.lookups:
            return "cache", "it is looked up whether the result of an equal call is kept"
        if pool is self._groups.awaiting:
            left = how_soon(max(0, self._groups.awaited_until(task) - now) / 1000)
            named = " or ".join(task.models[task.place :])
            return "no_provider", f"no provider lists {named}; one that does may be starting: {left} any other is asked"
        return why_waiting_in(pool, task, now)


def _decrement(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
