"""A provider that is not well is left alone, tried again, and never kept from anybody for good."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from tests.libs.engine.builders import NOW, Desk, task

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.explain import explain
from gleitzeit.engine.inputs import ProviderReady
from gleitzeit.engine.scheduling.breaker import (
    DEFAULT,
    MAX_FACTOR,
    MAX_RETRIES,
    Circuit,
    RetryBudget,
    speaks_of_provider,
)
from gleitzeit.engine.scheduling.pools import MAX_CIRCUITS, Provider
from gleitzeit.model.definition import Alternative, BreakerPolicy
from gleitzeit.model.events import Failure

SICK = -31004
"""RESOURCE_EXHAUSTED, retryable: as a back end that answers 503."""
QUICK = BreakerPolicy(failure_threshold=3, success_threshold=2, reset_timeout_seconds=5.0, half_open_max_calls=1)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failure(SICK, "503", retryable=True), True),
        (Failure(-29002, "503", "LLM_SERVER_ERROR", retryable=True), True),
        (Failure(-29003, "late", "TASK_TIMEOUT", retryable=True), True),
        (Failure(-32000, "anything of a stranger", retryable=True), True),
        (Failure(-29002, "the author's", "TASK_EXECUTION_FAILED", retryable=True), False),
        (Failure(-29007, "no such field", "TASK_RESULT_INVALID", retryable=True), False),
        (Failure(-29002, "no key", "LLM_UNAUTHORIZED"), False),
        (Failure(-32602, "bad params"), False),
    ],
)
def test_which_failures_speak_of_the_provider(failure: Failure, expected: bool) -> None:
    assert speaks_of_provider(failure) is expected


def test_a_circuit_from_closed_to_open_and_back() -> None:
    circuit, now = Circuit(QUICK), NOW
    assert [circuit.failed(False, now) for _ in range(3)] == [False, False, True]
    assert (circuit.state(now), circuit.admits(now)) == ("open", False)
    now += 5_000
    assert (circuit.state(now), circuit.admits(now)) == ("half_open", True)
    probe = circuit.enter()
    assert not circuit.admits(now), "one probe at a time"
    circuit.leave(probe)
    assert not circuit.succeeded(probe)
    probe = circuit.enter()
    circuit.leave(probe)
    assert circuit.succeeded(probe)
    assert circuit.state(now) == "closed"


def test_a_probe_that_fails_opens_it_for_longer_up_to_a_bound() -> None:
    circuit, now, waits = Circuit(QUICK), NOW, []
    for _ in range(3):
        circuit.failed(False, now)
    for _ in range(5):
        now = circuit.until
        probe = circuit.enter()
        circuit.leave(probe)
        assert circuit.failed(probe, now)
        waits.append((circuit.until - now) / 5_000)
    assert waits == [2, 4, MAX_FACTOR, MAX_FACTOR, MAX_FACTOR]


def test_what_began_before_it_opened_neither_closes_nor_prolongs_it() -> None:
    circuit = Circuit(QUICK)
    for _ in range(3):
        circuit.failed(False, NOW)
    until = circuit.until
    assert not any(circuit.succeeded(False) for _ in range(QUICK.success_threshold))
    assert circuit.state(NOW) == "open"
    assert not circuit.failed(False, NOW + 1_000)
    assert circuit.until == until


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200))
def test_repetitions_are_bounded_by_a_share_and_by_time(steps: list[tuple[bool, int]]) -> None:
    budget, now, first, again = RetryBudget(), NOW, 0, 0
    for _ in range(int(MAX_RETRIES)):
        budget.repetition()
    for repeats, passed in steps:
        now += passed
        if not repeats:
            budget.first_attempt()
            first += 1
        elif budget.allows(now):
            budget.repetition()
            again += 1
        else:
            at = budget.allows_at(now)
            assert at - 2 < now or not budget.allows(at - 2), "and not before"
            assert budget.allows(at), "it fills with time"
            now = at
    assert again <= 0.2 * first + (now - NOW) / 1000 + 1


def sick(desk: Desk, number: int, workflow_id: str = "w") -> None:
    """So many calls that run fail, as their provider is not well."""
    running = [call for call in desk.engine.calls.values() if call.workflow.id == workflow_id][:number]
    desk.tell(*(inp.CallFailed(call, SICK, "503") for call in running))


def many(count: int, **more: object) -> list[object]:
    return [task(f"t{n}", attempts=100, **more) for n in range(count)]


def test_an_open_circuit_lets_nothing_through_but_a_probe() -> None:
    desk = Desk(providers=[("p#1", 20)])
    desk.submit(*many(60))  # type: ignore[arg-type]
    sick(desk, 20)
    assert desk.engine.calls == {}, "20 failed, and none of the other 40 was sent"
    workflow = desk.workflow()
    why = explain(desk.engine, workflow, workflow.tasks["t50"], desk.now)
    assert (why.reason, why.message) == (
        "circuit_open", "echo/echo at p failed 20 times in a row; it is tried again in 5 s"
    )  # fmt: skip
    assert desk.engine.due_at() is not None
    desk.wait(4.9)
    assert desk.engine.calls == {}
    desk.wait(0.2)
    assert len(desk.engine.calls) == 1
    assert explain(desk.engine, workflow, workflow.tasks["t50"], desk.now).reason == "circuit_open"
    sick(desk, 1)
    desk.wait(6)
    assert desk.engine.calls == {}, "the second pause is twice as long"
    desk.wait(6)
    for _ in range(2):
        (probe,) = desk.engine.calls.values()
        desk.tell(inp.CallCompleted(probe, Raw(b"1")))
    assert len(desk.engine.calls) == 20, "it is well again"


def test_other_methods_and_other_providers_are_not_held_up() -> None:
    desk = Desk(providers=[("p#1", 20)])
    desk.submit(*many(20))  # type: ignore[arg-type]
    desk.submit(*[task(f"o{n}", method="llm/chat") for n in range(3)], workflow_id="other")
    sick(desk, 20)
    assert {call.method for call in desk.engine.calls.values()} == {"llm/chat"}
    desk.wait(1.1)
    desk.provider("q#1", 20)
    assert {call.instance for call in desk.engine.calls.values() if call.method == "echo/echo"} == {"q#1"}


def test_the_authors_own_errors_open_nothing() -> None:
    desk = Desk(providers=[("p#1", 50)])
    desk.submit(*many(50))  # type: ignore[arg-type]
    desk.tell(*(inp.CallFailed(call, -29002, "no") for call in list(desk.engine.calls.values())))
    desk.wait(1)
    assert len(desk.engine.calls) == 50


def test_repetitions_wait_for_their_budget_and_first_attempts_do_not() -> None:
    desk = Desk(providers=[("p#1", 100)])
    desk.submit(*many(100), breakers={"echo": BreakerPolicy(failure_threshold=1_000_000)})  # type: ignore[arg-type]
    sick(desk, 100)
    desk.wait(1)
    again = len(desk.engine.calls)
    assert again == 20
    waiting = next(t for t in desk.workflow().tasks.values() if t.state == "ready")
    assert explain(desk.engine, desk.workflow(), waiting, desk.now).reason == "retry_budget"
    desk.submit(*(task(f"new{number}") for number in range(5)), workflow_id="v")
    assert len(desk.engine.calls) == again + 5 + 1, "and for five first attempts there may be one"
    desk.wait(3)
    assert len(desk.engine.calls) == again + 5 + 1 + 3


def test_a_task_with_an_alternative_moves_on_while_a_circuit_is_open() -> None:
    desk = Desk(providers=[("p#1", 10)])
    other = (Alternative("small", "llm/chat"),)
    desk.submit(*many(12, fallback=other))  # type: ignore[arg-type]
    sick(desk, 10)
    moved = {call.task.id for call in desk.engine.calls.values() if call.method == "llm/chat"}
    assert moved == {"t10", "t11"}, "those that waited"
    desk.submit(task("late", fallback=other), workflow_id="v")
    assert desk.call("late", "v").method == "llm/chat"
    desk.wait(1)
    assert len([call for call in desk.engine.calls.values() if call.method == "llm/chat"]) == 10
    kinds = [type(event).__name__ for event in desk.events["v"]]
    assert kinds == ["WorkflowSubmitted", "TaskFellBack", "TaskStarted"]


def test_the_document_says_how() -> None:
    desk = Desk(providers=[("p#1", 10)])
    desk.submit(*many(3), breakers={"echo": QUICK})  # type: ignore[arg-type]
    sick(desk, 3)
    desk.submit(task("usual"), workflow_id="v")
    assert desk.call("usual", "v"), "what others ask for does not concern it"
    desk.complete("usual", workflow_id="v")
    desk.wait(1)
    assert desk.engine.calls == {}
    desk.wait(4)
    assert len(desk.engine.calls) == 1


def test_a_probe_whose_provider_dies_gives_its_place_back() -> None:
    desk = Desk(providers=[("p#1", 10)])
    desk.submit(*many(20, on_lost="retry"))  # type: ignore[arg-type]
    sick(desk, 10)
    desk.wait(5.1)
    assert len(desk.engine.calls) == 1
    desk.tell(inp.ProviderDown("p#1", gone=True))
    desk.provider("p#2", 10)
    assert len(desk.engine.calls) == 10


def test_a_probe_that_is_cancelled_gives_its_place_back() -> None:
    desk = Desk(providers=[("p#1", 10)])
    desk.submit(*many(20))  # type: ignore[arg-type]
    sick(desk, 10)
    desk.submit(task("x", priority=4), workflow_id="v")
    desk.wait(5.1)
    (probe,) = desk.engine.calls.values()
    desk.tell(inp.Cancel("t", probe.workflow.id))
    assert len(desk.engine.calls) == 1, "another one tries it"


class Stranger:
    """A provider without calls/v1: each of its connections is an instance, and ends with what it has under way."""

    def __init__(self, desk: Desk, url: str = "ws://stranger") -> None:
        self.desk, self.url, self.connections = desk, url, 0
        self.connect()

    def connect(self) -> list[str]:
        """The tasks that are called at once."""
        self.connections += 1
        instance = f"s-{self.url}-{self.connections}"
        self.desk.tell(inp.ProviderReady("s", instance, frozenset({"echo/echo"}), 1, foreign=self.url))
        return self.desk.sent()

    def hang_up(self) -> None:
        self.desk.tell(inp.ProviderDown(f"s-{self.url}-{self.connections}", gone=True))


def test_one_that_hangs_up_at_every_call_is_left_alone_and_tried_again() -> None:
    desk = Desk(providers=[])
    stranger = Stranger(desk)
    desk.submit(*(task(f"t{number}", on_lost="retry") for number in range(12)))
    for _ in range(DEFAULT.failure_threshold):
        stranger.hang_up()
        assert desk.sent() == []
        sent = stranger.connect()
    assert sent == [], "the tenth loss has opened its circuit"
    (change,) = desk.engine.scheduler.health.changes
    assert (change.state, change.failures, change.seconds) == ("open", DEFAULT.failure_threshold, 5.0)
    desk.wait(DEFAULT.reset_timeout_seconds - 0.001)
    assert desk.sent() == []
    desk.wait(0.001)
    assert len(desk.sent()) == 1, "a probe"
    stranger.hang_up()
    assert stranger.connect() == []
    desk.wait(2 * DEFAULT.reset_timeout_seconds)
    (probed,) = desk.sent()
    desk.complete(probed)
    while desk.sent():
        desk.complete(desk.sent()[0])
    assert set(desk.states().values()) == {"completed"}
    assert ("closed", 0.0) in [(change.state, change.seconds) for change in desk.engine.scheduler.health.changes]


def test_another_stranger_is_not_to_blame_and_a_loss_before_sending_is_none() -> None:
    desk = Desk(providers=[])
    sick = Stranger(desk)
    desk.sends = False
    desk.submit(*(task(f"t{number}", on_lost="retry") for number in range(2)))
    for _ in range(2 * DEFAULT.failure_threshold):
        sick.hang_up()
        assert len(sick.connect()) == 1
    desk.sends = True
    for _ in range(2):
        sick.hang_up()
        sick.connect()
    other = Stranger(desk, "ws://other")
    assert desk.engine.scheduler.roster[f"s-{other.url}-1"].circuits == {}


def test_of_very_many_policies_those_that_are_open_are_remembered() -> None:
    provider = Provider(ProviderReady("p", "p#1", frozenset({"a/b"}), 1))
    opened = [("a/b", BreakerPolicy(1, 1, 60.0 + number, 1)) for number in range(10)]
    for key in opened:
        assert provider.circuit(key, NOW).failed(False, NOW)
    for number in range(2 * MAX_CIRCUITS):
        provider.circuit(("a/b", BreakerPolicy(3, 1, 1_000.0 + number, 1)), NOW).failed(False, NOW)
    assert len(provider.circuits) == MAX_CIRCUITS
    assert all(key in provider.circuits for key in opened)
