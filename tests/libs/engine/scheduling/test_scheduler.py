import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.libs.engine.builders import NOW, submitted, task

from gleitzeit.engine.inputs import ProviderReady, ProvidersDrained
from gleitzeit.engine.scheduling import grouping
from gleitzeit.engine.scheduling.queue import PATIENCE
from gleitzeit.engine.scheduling.scheduler import Scheduler
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Alternative, BreakerPolicy, Priority

METHODS = ("a/x", "a/y", "b/z")


def ready(instance: str, methods: frozenset[str], capacity: int = 2) -> ProviderReady:
    return ProviderReady(instance.partition("#")[0], instance, methods, capacity)


def queued_tasks(scheduler: Scheduler) -> list[str]:
    """Wherever they wait."""
    names = [f"{w.id}.{t.id}" for pool in scheduler._groups.pools for w, t in pool.queue]
    for lanes in scheduler._parked.values():
        names += [f"{lane.workflow.id}.{t.id}" for lane in lanes for t in lane.tasks]
    return names


class Book:
    """What should be true of a scheduler, kept beside it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.scheduler = Scheduler()
        self.workflows = [
            Workflow(
                submitted(
                    *(task(f"t{i}", method=chance.choice(METHODS)) for i in range(8)),
                    workflow_id=f"w{n}",
                    max_parallel=chance.choice([None, 1, 3]),
                )
            )
            for n in range(3)
        ]
        self.waiting: set[str] = set()
        self.running: list[tuple[Workflow, str]] = []
        for workflow in self.workflows:
            self.scheduler.add(workflow, workflow.tasks.values())
            self.waiting |= {f"{workflow.id}.{t}" for t in workflow.tasks}

    def step(self) -> None:
        chance, scheduler = self.chance, self.scheduler
        instance = f"p#{chance.randrange(4)}"
        match chance.randrange(6):
            case 0:
                served = frozenset(chance.sample(METHODS, chance.randint(1, 3)))
                scheduler.provider_ready(ready(instance, served, chance.randint(1, 3)))
            case 1:
                scheduler.provider_gone(instance)
            case 2 | 3:
                self.start()
            case 4 if self.running:
                workflow, where = self.running.pop(chance.randrange(len(self.running)))
                scheduler.ended(workflow, where)
            case 5:
                workflow = chance.choice(self.workflows)
                if workflow.id in scheduler.held:
                    scheduler.held.discard(workflow.id)
                    scheduler.unpark(workflow)
                else:
                    scheduler.held.add(workflow.id)

    def start(self) -> None:
        found = self.scheduler.next()
        if found is None:
            return
        workflow, chosen, provider = found
        name = f"{workflow.id}.{chosen.id}"
        assert name in self.waiting, "handed out twice"
        assert chosen.definition.method in provider.methods
        assert workflow.id not in self.scheduler.held
        self.waiting.discard(name)
        at_it = sum(where == provider.instance for _, where in self.running)
        assert at_it < provider.capacity
        limit = workflow.definition.max_parallel
        assert limit is None or sum(w is workflow for w, _ in self.running) < limit
        chosen.state = "running"
        self.scheduler.started(workflow, provider.instance)
        self.running.append((workflow, provider.instance))

    def check(self) -> None:
        assert sorted(queued_tasks(self.scheduler)) == sorted(self.waiting)
        assert self.scheduler.queued == len(self.waiting)
        for instance, provider in self.scheduler.roster.items():
            assert provider.running == sum(where == instance for _, where in self.running)


@settings(max_examples=80)
@given(st.integers(0, 2**32), st.integers(1, 120))
def test_every_task_is_somewhere_once_and_no_limit_is_exceeded(seed: int, steps: int) -> None:
    book = Book(random.Random(seed))
    for _ in range(steps):
        book.step()
        book.check()


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_in_the_end_everything_starts(seed: int) -> None:
    chance = random.Random(seed)
    book = Book(chance)
    for _ in range(60):
        book.step()
    book.scheduler.provider_ready(ready("last", frozenset(METHODS), 3))
    for workflow in book.workflows:
        book.scheduler.held.discard(workflow.id)
        book.scheduler.unpark(workflow)
    while book.waiting or book.running:
        before = len(book.waiting)
        book.start()
        if len(book.waiting) == before:
            assert book.running, f"nothing runs, nothing starts, and these wait: {book.waiting}"
            book.scheduler.ended(*book.running.pop())
        book.check()


def one(*names: str, **more: object) -> Workflow:
    return Workflow(submitted(*(task(name, method="a/x") for name in names), **more))


def test_the_least_loaded_provider_is_chosen_by_its_share() -> None:
    scheduler = Scheduler()
    scheduler.provider_ready(ready("small", frozenset({"a/x"}), 2))
    scheduler.provider_ready(ready("large", frozenset({"a/x"}), 8))
    workflow = one(*(f"t{i}" for i in range(10)))
    scheduler.add(workflow, workflow.tasks.values())
    chosen = []
    while (found := scheduler.next()) is not None:
        scheduler.started(workflow, found[2].instance)
        chosen.append(found[2].instance)
    assert chosen.count("small") == 2
    assert chosen.count("large") == 8
    assert "small" in chosen[:2]


def test_what_only_shares_a_provider_with_a_large_batch_has_its_turn() -> None:
    """Other providers serve the batch, too: so it has a queue of its own."""
    scheduler = Scheduler()
    scheduler.provider_ready(ready("p", frozenset({"a/x", "b/z"}), 1))
    scheduler.provider_ready(ready("busy", frozenset({"a/x"}), 0))
    batch = one(*(f"t{i}" for i in range(100)), workflow_id="batch")
    chat = Workflow(submitted(task("answer", method="b/z"), workflow_id="chat"))
    scheduler.add(batch, batch.tasks.values())
    scheduler.add(chat, chat.tasks.values())
    started = []
    while (found := scheduler.next()) is not None:
        workflow, _, provider = found
        started.append(workflow.id)
        scheduler.started(workflow, provider.instance)
        assert scheduler.next() is None
        scheduler.ended(workflow, provider.instance)
    assert len(started) == 101
    assert "chat" in started[:2]


def prioritised(name: str, method: str, *priorities: Priority, **more: object) -> Workflow:
    tasks = (task(f"t{n}", method=method, priority=priority) for n, priority in enumerate(priorities))
    return Workflow(submitted(*tasks, workflow_id=name, **more))


def test_what_is_urgent_goes_first_at_the_only_provider_that_it_can_go_to() -> None:
    """However many pools of less urgent tasks share that provider."""
    scheduler = Scheduler()
    scheduler.provider_ready(ready("b", frozenset({"a/x", "a/y", "b/z"}), 1))
    for number, methods in enumerate(({"a/x"}, {"a/y"}, {"a/x", "a/y"})):
        scheduler.provider_ready(ready(f"a{number}", frozenset(methods), 1))
    for method in ("a/x", "a/y"):
        batch = prioritised(method, method, *[Priority.LOW] * 50)
        scheduler.add(batch, batch.tasks.values())
    running = fill(scheduler)
    assert len(running) == 4, "nothing urgent is there, so all take what comes"
    urgent = prioritised("urgent", "b/z", *[Priority.URGENT] * 5)
    scheduler.add(urgent, urgent.tasks.values())
    at_b = []
    for _ in range(5):
        scheduler.ended(next(w for w, _, where in running if where == "b"), "b")
        [(workflow, _, where)] = fill(scheduler)
        at_b.append((workflow.id, where))
        running = [(workflow, None, where)]
    assert at_b == [("urgent", "b")] * 5


def fill(scheduler: Scheduler) -> list[tuple[Workflow, Task | None, str]]:
    """All that can start."""
    started: list[tuple[Workflow, Task | None, str]] = []
    while (found := scheduler.next()) is not None:
        workflow, chosen, provider = found
        scheduler.started(workflow, provider.instance)
        started.append((workflow, chosen, provider.instance))
    return started


Group = frozenset[str]
"""The providers that a task may go to."""


class Priorities:
    """Tasks of all priorities that wait for places at providers which overlap, and how often each was passed over."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.scheduler = Scheduler()
        for number in range(chance.randint(1, 4)):
            served = frozenset(chance.sample(METHODS, chance.randint(1, 3)))
            self.scheduler.provider_ready(ready(f"p{number}", served, chance.randint(1, 2)))
        self.scheduler.provider_ready(ready("all", frozenset(METHODS), 1))
        self.waiting: dict[Task, Workflow] = {}
        self.running: list[tuple[Workflow, str]] = []
        self.passed: Counter[tuple[Group, int]] = Counter()
        """By group and priority, and by group alone with 0: since something of it has started, how often something
        has of another priority, or that is more urgent (than all that waits of the group)."""
        self.groups = {
            method: frozenset(p.instance for p in self.scheduler.roster.values() if method in p.methods)
            for method in METHODS
        }

    def come(self, number: int) -> None:
        priorities = self.chance.choices(list(Priority), k=3)
        limit = self.chance.choice([None, None, 1])
        workflow = prioritised(f"w{number}", self.chance.choice(METHODS), *priorities, max_parallel=limit)
        self.waiting |= dict.fromkeys(workflow.tasks.values(), workflow)
        self.scheduler.add(workflow, workflow.tasks.values())

    def group(self, one: Task) -> Group:
        return self.groups[one.definition.method]

    def fill(self) -> None:
        scheduler = self.scheduler
        while True:
            may_start = {workflow: scheduler.may_start(workflow) for workflow in self.waiting.values()}
            found = scheduler.next()
            if found is None:
                return
            workflow, started, provider = found
            scheduler.started(workflow, provider.instance)
            self.running.append((workflow, provider.instance))
            del self.waiting[started]
            could = (other for other, workflow in self.waiting.items() if may_start[workflow])
            self.check(started, provider.instance, {(self.group(other), other.definition.priority) for other in could})

    def check(self, started: Task, where: str, wanted: set[tuple[Group, int]]) -> None:
        """`wanted` is what could have started as well."""
        group, level = self.group(started), started.definition.priority
        if any(where in others and more > level for others, more in wanted):
            # what may not start, and is put aside when its turn comes, passes over what is below it, too
            assert max(self.passed[group, level], self.passed[group, 0]) >= PATIENCE // 2, "it was not its turn"
        self.passed[group, level] = self.passed[group, 0] = 0
        for others in {others for others, _ in wanted}:
            levels = {less for group, less in wanted if group == others}
            self.passed.update((others, less) for less in levels if less < level or others == group)
            self.passed[others, 0] += max(levels) < level

    def end(self) -> None:
        self.scheduler.ended(*self.running.pop(self.chance.randrange(len(self.running))))


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_nothing_takes_a_place_that_something_more_urgent_could_have(seed: int) -> None:
    """The law of priorities, of all that waits anywhere; but for what was passed over PATIENCE times. And whatever
    waits starts in the end."""
    chance = random.Random(seed)
    book = Priorities(chance)
    for number in range(80):
        book.come(number)
        book.fill()
        while book.running and chance.random() < 0.7:
            book.end()
    book.fill()
    while book.running:
        book.end()
        book.fill()
    assert not book.waiting


def test_pools_that_nobody_is_in_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each workflow has a circuit breaker of its own; every tenth is held meanwhile, and starts in the end, too."""
    monkeypatch.setattr(grouping, "SPARE_POOLS", 10)
    scheduler = Scheduler()
    scheduler.provider_ready(ready("p", frozenset({"a/x"}), 1_000))
    held: list[Workflow] = []
    started: list[str] = []
    for number in range(300):
        own = {"a": BreakerPolicy(reset_timeout_seconds=number + 1.0)}
        workflow = one("t", workflow_id=f"w{number}", breakers=own)
        if number % 10 == 0:
            held.append(workflow)
            scheduler.held.add(workflow.id)
        scheduler.add(workflow, workflow.tasks.values())
        while (found := scheduler.next()) is not None:
            started.append(found[0].id)
    assert len(scheduler._groups.pools) <= 2 * len(held) + 2 * 10 + 10
    scheduler.held.clear()
    for workflow in held:
        scheduler.unpark(workflow)
    while (found := scheduler.next()) is not None:
        started.append(found[0].id)
    assert sorted(started) == sorted(f"w{number}" for number in range(300))


def test_a_provider_that_drains_gets_nothing_more() -> None:
    scheduler = Scheduler()
    scheduler.provider_ready(ready("p", frozenset({"a/x"})))
    scheduler.roster["p"].draining = True
    workflow = one("t")
    scheduler.add(workflow, workflow.tasks.values())
    assert scheduler.next() is None
    assert scheduler.why_waiting(workflow, workflow.tasks["t"])[0] == "draining"


def test_calls_of_before_count_for_a_provider_that_returns() -> None:
    scheduler = Scheduler()
    workflow = one("t", "u")
    scheduler.started(workflow, "p")
    scheduler.provider_ready(ready("p", frozenset({"a/x"}), 1))
    scheduler.add(workflow, [workflow.tasks["u"]])
    assert scheduler.next() is None
    scheduler.ended(workflow, "p")
    assert scheduler.next() is not None


def test_what_cannot_start_any_more_is_dropped_on_the_way() -> None:
    scheduler = Scheduler()
    scheduler.provider_ready(ready("p", frozenset({"a/x"})))
    workflow = one("t", "u")
    scheduler.add(workflow, workflow.tasks.values())
    workflow.apply(ev.TaskCancelled(NOW, "t"))
    found = scheduler.next()
    assert found is not None
    assert found[1].id == "u"
    assert scheduler.next() is None


def test_a_workflow_that_has_ended_leaves_nothing() -> None:
    scheduler = Scheduler()
    scheduler.provider_ready(ready("p", frozenset({"a/x"})))
    workflow = one("t", "u")
    scheduler.add(workflow, workflow.tasks.values())
    scheduler.held.add(workflow.id)
    assert scheduler.next() is None
    scheduler.forget(workflow)
    assert scheduler.queued == 0
    assert not scheduler.held


def test_a_task_goes_to_the_provider_that_holds_its_model() -> None:
    scheduler = Scheduler()
    workflow = Workflow(submitted(*(task(f"t{n}", method="work/do") for n in range(6))))
    tasks = list(workflow.tasks.values())
    for each, model in zip(tasks, ("big", "big", "small", "unheard-of", "", "small"), strict=True):
        each.models = (model,)
    workflow.released.clear()
    methods = frozenset({"work/do"})
    scheduler.provider_ready(ProviderReady("a", "a1", methods, 10, frozenset({"big"})))
    scheduler.provider_ready(ProviderReady("b", "b1", methods, 10, frozenset({"small"})))
    scheduler.now += 1_000
    scheduler.add(workflow, tasks)
    chosen: dict[str, set[str]] = {}
    while (found := scheduler.next()) is not None:
        _, started, provider = found
        scheduler.started(workflow, provider.instance)
        chosen.setdefault(*started.models, set()).add(provider.instance)
    assert chosen["big"] == {"a1"}
    assert chosen["small"] == {"b1"}
    assert chosen["unheard-of"] | chosen[""] <= {"a1", "b1"}


def test_of_several_models_the_first_that_somebody_holds_decides_from_its_place_on() -> None:
    methods = frozenset({"work/do"})
    chosen = []
    for place in range(3):
        scheduler = Scheduler()
        scheduler.provider_ready(ProviderReady("a", "a1", methods, 1, frozenset({"big"})))
        scheduler.provider_ready(ProviderReady("b", "b1", methods, 1, frozenset({"small"})))
        workflow = Workflow(submitted(task("t", method="work/do")))
        (only,) = workflow.tasks.values()
        only.models, only.place = ("unheard-of", "small", "big"), place
        scheduler.add(workflow, [only])
        found = scheduler.next()
        assert found is not None
        chosen.append(found[2].instance)
    assert chosen == ["b1", "b1", "a1"]


def test_a_model_that_nobody_lists_goes_to_one_that_lists_none() -> None:
    scheduler = Scheduler()
    workflow = Workflow(submitted(task("t", method="work/do")))
    (only,) = workflow.tasks.values()
    only.models = ("newest",)
    methods = frozenset({"work/do"})
    scheduler.provider_ready(ProviderReady("a", "a1", methods, 10, frozenset({"big"})))
    scheduler.provider_ready(ProviderReady("b", "b1", methods, 1))
    scheduler.now += 1_000
    scheduler.add(workflow, [only])
    found = scheduler.next()
    assert found is not None
    assert found[2].instance == "b1"


def asking(*models: str, **more: Any) -> tuple[Scheduler, Workflow, Task]:
    """A scheduler with a task that asks for these models, and nobody to do it yet."""
    scheduler = Scheduler()
    scheduler.now = NOW
    workflow = Workflow(submitted(task("t", method="work/do", **more)))
    (only,) = workflow.tasks.values()
    only.models = models
    scheduler.add(workflow, [only])
    return scheduler, workflow, only


def holder(name: str, *models: str, methods: frozenset[str] = frozenset({"work/do"})) -> ProviderReady:
    return ProviderReady(name, f"{name}1", methods, 1, frozenset(models))


def goes_to(scheduler: Scheduler) -> str:
    found = scheduler.next()
    return "" if found is None else found[2].instance


@pytest.mark.parametrize(("names_more", "seconds"), [(False, 60), (True, 3)])
def test_who_had_the_model_and_left_is_waited_for(names_more: bool, seconds: int) -> None:
    fallback = (Alternative("b", "work/do"),) if names_more else ()
    for comes_back in (True, False):
        scheduler, workflow, only = asking("big", fallback=fallback)
        scheduler.provider_ready(holder("b", "small"))
        scheduler.provider_ready(holder("a", "big"))
        scheduler.provider_gone("a1")
        scheduler.now += seconds * 1000 - 1
        assert goes_to(scheduler) == ""
        reason, why = scheduler.why_waiting(workflow, only)
        assert reason == "no_provider"
        assert why.startswith("no provider lists big; one that does may be starting: ")
        assert scheduler.wake_at() == scheduler.now + 1
        if comes_back:
            scheduler.provider_ready(holder("a", "big"))
            assert goes_to(scheduler) == "a1"
        else:
            scheduler.now += 1
            assert goes_to(scheduler) == "b1"


def test_while_providers_come_one_that_lists_the_model_is_waited_for() -> None:
    scheduler, _, _ = asking("big")
    scheduler.provider_ready(holder("b", "small"))
    scheduler.provider_ready(holder("other", methods=frozenset({"a/x"})))
    assert goes_to(scheduler) == ""
    scheduler.now += 900
    scheduler.provider_ready(holder("a", "big"))
    assert goes_to(scheduler) == "a1"
    scheduler, _, _ = asking("nobody has it")
    scheduler.provider_ready(holder("b", "small"))
    scheduler.now += 1_000
    assert goes_to(scheduler) == "b1"


def test_who_lists_nothing_or_is_named_is_not_waited_for() -> None:
    scheduler, _, _ = asking("big")
    scheduler.provider_ready(holder("b"))
    assert goes_to(scheduler) == "b1"
    scheduler, _, _ = asking("big", provider="b")
    scheduler.provider_ready(holder("b", "small"))
    assert goes_to(scheduler) == "b1"


def test_after_a_start_with_work_to_go_on_with_providers_have_longer_to_come() -> None:
    scheduler, _, _ = asking("big")
    scheduler.begin(NOW)
    scheduler.provider_ready(holder("b", "small"))
    scheduler.begin(NOW + 5_000)  # what is taken over later finds providers there
    scheduler.now += 9_999
    assert goes_to(scheduler) == ""
    scheduler.now += 1
    assert goes_to(scheduler) == "b1"


def test_where_it_is_said_which_are_started_only_those_are_waited_for() -> None:
    scheduler, _, _ = asking("nobody has it")
    scheduler.expect(["a", "b"], NOW)
    scheduler.provider_ready(holder("b", "small"))
    assert goes_to(scheduler) == ""
    scheduler.provider_ready(holder("a", "big"))
    assert goes_to(scheduler) == "a1"
    for fallback, seconds in (((), 10), ((Alternative("b", "work/do"),), 3)):
        scheduler, _, _ = asking("big", fallback=fallback)
        scheduler.expect(["a", "b"], NOW)  # and a never comes
        scheduler.provider_ready(holder("b", "small"))
        scheduler.now += seconds * 1000 - 1
        assert goes_to(scheduler) == ""
        scheduler.now += 1
        assert goes_to(scheduler) == "b1"


def test_a_model_that_nobody_lists_is_asked_of_who_has_such_models() -> None:
    for model, asked in (("llama3.3", "a1"), ("gpt-5-turbo", "b1")):
        scheduler, _, _ = asking(model)
        scheduler.provider_ready(holder("b", "gpt-5", "o4"))
        scheduler.provider_ready(holder("a", "llama3.2", "llava"))
        scheduler.now += 1_000
        assert goes_to(scheduler) == asked


def test_a_provider_that_drains_could_not_take_what_waits() -> None:
    scheduler, _, _ = asking("big")
    scheduler.provider_ready(holder("a", "big"))
    provider = scheduler.roster["a1"]
    assert scheduler.waiting_for(provider) == 1
    scheduler.drain(ProvidersDrained(frozenset({"a"})))
    assert scheduler.waiting_for(provider) == 0


def test_of_any_number_of_models_that_nobody_lists_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MAX_LIKELY", 2)
    scheduler, workflow, only = asking("big")
    scheduler.provider_ready(holder("a", "bigger"))
    scheduler.now += 3_600_000  # nobody is waited for any more
    for number in range(5):
        only.models = (f"big{number}",)
        scheduler.add(workflow, [only])
        assert len(scheduler._groups._likely) <= 2
    assert scheduler._groups._likely
