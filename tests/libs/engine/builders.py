"""Small workflows and an engine at a standstill, for the tests beside this file."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions import inner
from gleitzeit.engine.decisions.core import Decision
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.state.standing import Standing
from gleitzeit.engine.state.task import Fan, Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition, RetryPolicy, TaskDefinition
from gleitzeit.schemas import Catalogue, method_schema

NOW = 1_800_000_000_000
CATALOGUE = Catalogue(
    [
        method_schema("echo/echo", {}),
        method_schema("shop/pay", {"x-idempotent": False}),
        method_schema("llm/chat", {"x-wants-dependencies": True, "params": {"properties": {"model": {}}}}),
        *(method_schema(name, {"x-runs": "coordinator"}) for name in inner.METHODS),
    ]
)
METHODS = frozenset({"echo/echo", "shop/pay", "llm/chat"})


def raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def task(
    task_id: str, /, *dependencies: str, method: str = "echo/echo", params: object = None, **more: Any
) -> TaskDefinition:
    """`attempts=3` is short for a policy of three attempts, a second apart."""
    attempts = more.pop("attempts", 1)
    more.setdefault("retry", RetryPolicy(attempts, "fixed", 1.0, jitter=False))
    encoded = raw(params or {})
    return TaskDefinition(
        task_id, method, encoded, dependencies=dependencies, references=b"${" in bytes(encoded), **more
    )


def definition(*tasks: TaskDefinition, **more: Any) -> Definition:
    return Definition("test", tasks, **more)


def submitted(*tasks: TaskDefinition, workflow_id: str = "w", **more: Any) -> ev.WorkflowSubmitted:
    return ev.WorkflowSubmitted(NOW, workflow_id, definition(*tasks, **more))


class Desk:
    """An engine and one who feeds it. `events` is everything that was decided, by workflow; `now` moves by `wait`."""

    def __init__(self, *, providers: Iterable[tuple[str, int]] = (("p#1", 100),), lease_seconds: float = 20.0) -> None:
        self.identity = Identity("c", 1, "me", lease_seconds=lease_seconds)
        self.engine = Engine(CATALOGUE, self.identity)
        self.now = NOW
        self.sends = True
        """Whether requests reach the sockets of their providers."""
        self.events: dict[str, list[ev.AnyEvent]] = {}
        self.last = Decision()
        for instance, capacity in providers:
            self.provider(instance, capacity)

    def tell(self, *inputs: inp.Input) -> Decision:
        """One turn, and those that follow at once. Returns what all of them decided."""
        self.last = self.turn(inputs)
        while self.engine.more:
            more = self.turn(())
            self.last.effects += more.effects
            self.last.answers += more.answers
            self.last.appends.update(more.appends)
        return self.last

    def turn(self, inputs: Iterable[inp.Input] = ()) -> Decision:
        decision = self.engine.decide(self.now, inputs)
        for append in decision.appends.values():
            stream = self.events.setdefault(append.workflow.id, [])
            assert append.seq == len(stream) + 1
            stream.extend(append.events)
        for effect in decision.effects:
            if isinstance(effect, fx.CallProvider):
                effect.call.sent = self.sends
        return decision

    def wait(self, seconds: float) -> Decision:
        self.now += round(seconds * 1000)
        return self.tell()

    def provider(self, instance: str, capacity: int = 100, methods: frozenset[str] = METHODS) -> Decision:
        return self.tell(inp.ProviderReady(instance.partition("#")[0], instance, methods, capacity))

    def submit(self, *tasks: TaskDefinition, workflow_id: str = "w", held: bool = False, **more: Any) -> Workflow:
        body = more.pop("body", "")
        self.tell(inp.Submit("submit", workflow_id, definition(*tasks, **more), raw({}), "", body, held))
        return self.workflow(workflow_id)

    def workflow(self, workflow_id: str = "w") -> Workflow:
        return self.engine.workflows[workflow_id]

    def states(self, workflow_id: str = "w") -> dict[str, str]:
        return {name: t.state for name, t in self.workflow(workflow_id).tasks.items()}

    def call(self, name: str, workflow_id: str = "w") -> Call:
        """The call that runs for a task."""
        return next(c for c in self.engine.calls.values() if c.task.id == name and c.workflow.id == workflow_id)

    def complete(self, name: str, result: object = None, workflow_id: str = "w") -> Decision:
        return self.tell(inp.CallCompleted(self.call(name, workflow_id), raw(result)))

    def fail(
        self, name: str, code: int = -29002, workflow_id: str = "w", data: object = None, message: str = "no"
    ) -> Decision:
        encoded = None if data is None else raw(data)
        return self.tell(inp.CallFailed(self.call(name, workflow_id), code, message, encoded))

    def sent(self) -> list[str]:
        """The tasks that the last turn called."""
        return [e.call.task.id for e in self.last.effects if isinstance(e, fx.CallProvider)]

    def kinds(self, workflow_id: str = "w") -> list[str]:
        return [type(event).__name__ for event in self.events[workflow_id]]

    def error(self) -> Exception:
        """What the only request of the last turn was answered with."""
        (answer,) = self.last.answers
        assert answer.error is not None
        return answer.error

    def restart(self, *, held: bool = False) -> "Desk":
        """Another engine that has replayed everything; no provider is there yet."""
        other = Desk(providers=(), lease_seconds=self.identity.lease_seconds)
        other.now = self.now
        other.events = self.events
        for stream in self.events.values():
            other.engine.adopt(self.now, replay(stream), held=held)
        other.tell()
        return other


def snapshot(workflow: Workflow) -> object:
    """All that can be seen of a workflow, as plain values; two are equal only if nothing differs."""
    seen: dict[str, object] = {}
    for name in set(Standing.__slots__) - {"counted"}:  # that is its owner's
        value = getattr(workflow, name)
        if name == "tasks":
            value = [
                {slot: _plain(getattr(t, slot)) for slot in t.__slots__ if slot != "definition"} for t in value.values()
            ]
        elif name == "released":
            value = [t.id for t in value]
        elif name == "signals":
            value = [msgspec.json.encode(signal) for signal in value]
        elif name == "signal_keys":
            value = list(value or ())
        elif name == "counts":
            value = {state: n for state, n in value.items() if n}
        else:
            value = _plain(list(value) if isinstance(value, tuple) else value)
        seen[name] = value
    return seen


def _plain(value: object) -> object:
    if isinstance(value, list | dict):
        return [t.id for t in value]
    if isinstance(value, Task):
        return value.id
    if isinstance(value, Fan):
        return len(value.items), value.left, value.active, _plain(value.failed)
    return msgspec.json.encode(value) if isinstance(value, Raw | msgspec.Struct) else repr(value)


def fan(**more: object) -> Desk:
    """`bad` has failed beside `other`; `child` and `grandchild` depend on it."""
    desk = Desk()
    desk.submit(task("bad"), task("other"), task("child", "bad"), task("grandchild", "child"), **more)
    desk.fail("bad")
    return desk


def kinds_of(effects: list[fx.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]
