"""Who of several providers gets the next call."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.libs.engine.builders import submitted, task

from gleitzeit.engine.inputs import ProviderReady
from gleitzeit.engine.scheduling.pools import MAX_WARM
from gleitzeit.engine.scheduling.scheduler import Scheduler
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.spec.strategies import STRATEGIES, read_strategies


class Room:
    """Providers of one method, each with as many places as is said."""

    def __init__(self, strategy: str, *, models: tuple[str, ...] = (), **capacities: int) -> None:
        self.scheduler = Scheduler()
        self.scheduler.use(read_strategies(strategy))
        for name, capacity in capacities.items():
            ready = ProviderReady("p", name, frozenset({"llm/chat"}), capacity, models=frozenset(models))
            self.scheduler.provider_ready(ready)
        self._count = 0
        self._running: list[tuple[Workflow, str]] = []

    def start(self, *models: str, count: int = 1) -> str:
        """The instances that get a task each of these models, one after the other."""
        started = []
        for model in models or [""] * count:
            self._count += 1
            workflow = Workflow(submitted(task("t", method="llm/chat"), workflow_id=f"w{self._count}"))
            workflow.tasks["t"].models = (model,) if model else ()
            self.scheduler.add(workflow, workflow.tasks.values())
            found = self.scheduler.next()
            if found is not None:
                workflow, _, provider = found
                self.scheduler.started(workflow, provider.instance)
                self._running.append((workflow, provider.instance))
            started.append(found[2].instance if found is not None else "-")
        return "".join(started)

    def end(self, instances: str = "") -> None:
        """One call of each of these; of all if none is named."""
        for instance in instances or "".join(instance for _, instance in self._running):
            running = next(one for one in self._running if one[1] == instance)
            self._running.remove(running)
            self.scheduler.ended(*running)


def test_the_least_loaded_for_its_size_is_taken_where_nobody_says_otherwise() -> None:
    assert Room("", a=2, b=4).start(count=7) == "abbabb-"
    assert Room("least_loaded", a=2, b=4).start(count=7) == "abbabb-"


def test_round_robin_passes_over_who_has_no_room() -> None:
    room = Room("round_robin", a=9, b=1, c=9)
    assert room.start(count=6) == "abcaca"
    room.end()
    assert room.start(count=3) == "bca"
    room.end()
    assert room.start() + room.start() == "bc"


def test_best_fit_fills_one_before_the_next() -> None:
    room = Room("best_fit", a=4, b=2, c=3)
    assert room.start(count=10) == "bbcccaaaa-"
    room.end("ac")
    assert room.start(count=1) == "a"


def test_a_model_goes_where_it_was_last_as_long_as_there_is_room() -> None:
    room = Room("model_affinity", models=("x", "y"), a=2, b=2)
    assert room.start("x", "y", "x", "y") == "abab"
    room.end()
    assert room.start("y", "x", "y", "x") == "baba"
    room.end()
    assert room.start("x", "x", "x") == "aab"  # a is full: b takes it into its memory, too
    room.end()
    assert room.start("x", "x", "y") == "bba"  # b had it last


def test_without_a_model_the_least_loaded_is_near_enough() -> None:
    room = Room("model_affinity", a=2, b=2)
    assert room.start(count=4) == "abab"


def test_what_was_long_ago_is_no_longer_in_memory() -> None:
    models = tuple(f"m{n}" for n in range(MAX_WARM + 5))
    room = Room("model_affinity", models=models, a=1)
    for model in models:
        assert room.start(model) == "a"
        room.end()
    assert list(room.scheduler.roster["a"].warm) == list(models[5:])


def test_methods_of_the_same_providers_may_differ() -> None:
    scheduler = Scheduler()
    scheduler.use(read_strategies("python/execute=best_fit"))
    for name, capacity in (("a", 4), ("b", 2)):
        scheduler.provider_ready(ProviderReady("p", name, frozenset({"python/execute", "echo/echo"}), capacity))
    taken = Counter[str]()
    for number in range(4):
        method = ("python/execute", "echo/echo")[number % 2]
        workflow = Workflow(submitted(task("t", method=method), workflow_id=f"w{number}"))
        scheduler.add(workflow, workflow.tasks.values())
        found = scheduler.next()
        assert found is not None
        scheduler.started(workflow, found[2].instance)
        taken[f"{method}@{found[2].instance}"] += 1
    assert taken == {"python/execute@b": 2, "echo/echo@a": 2}


@given(
    st.sampled_from(STRATEGIES),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.sampled_from(["x", "y", "", "end"]), max_size=40),
)
@settings(max_examples=100)
def test_whatever_the_strategy_places_are_neither_left_idle_nor_given_twice(
    strategy: str, capacities: list[int], steps: list[str]
) -> None:
    room = Room(strategy, models=("x", "y"), **{f"{chr(97 + n)}": capacity for n, capacity in enumerate(capacities)})
    for step in steps:
        providers = [p for p in room.scheduler.roster.values() if p.name == "p"]
        full = all(p.running == p.capacity for p in providers)
        if step == "end" and room._running:
            room.end(room._running[0][1])
            waiting = room.scheduler.next()
            if waiting is not None:
                room.scheduler.started(waiting[0], waiting[2].instance)
                room._running.append((waiting[0], waiting[2].instance))
        elif step != "end":
            assert (room.start(*filter(None, [step])) == "-") is full
        assert all(0 <= p.running <= p.capacity for p in providers)
