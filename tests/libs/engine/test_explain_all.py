"""Whatever waits has exactly one reason, and every reason that there is can be seen: a list that cannot fall behind."""

import ast
from pathlib import Path

import pytest
from tests.libs.engine.builders import CATALOGUE, METHODS, Desk, definition, raw, task

from gleitzeit.engine import explain as explain_module
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.params import Identity
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.explain import explain
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model.definition import CachePolicy, Concurrency, ForEach, Until

WAITING = frozenset({"pending", "ready", "retrying", "waiting"})


def _dependency(desk: Desk) -> Workflow:
    return desk.submit(task("first"), task("t", "first"))


def _no_provider(desk: Desk) -> Workflow:
    return desk.submit(task("t", method="nobody/serves"))


def _busy(desk: Desk) -> Workflow:
    desk.tell(inp.ProviderDown("p#1", gone=True))
    desk.provider("p#1", capacity=1)
    desk.submit(task("other"), workflow_id="other")
    return desk.submit(task("t"))


def _draining(desk: Desk) -> Workflow:
    desk.tell(inp.ProviderDraining("p#1"))
    return desk.submit(task("t"))


def _max_parallel(desk: Desk) -> Workflow:
    return desk.submit(task("first"), task("t"), max_parallel=1)


def _paused(desk: Desk) -> Workflow:
    workflow = desk.submit(task("first"), task("t", "first"))
    desk.tell(inp.Pause("p", "w"))
    desk.complete("first")
    return workflow


def _held(desk: Desk) -> Workflow:
    return desk.submit(task("t"), held=True)


def _task_limit(desk: Desk) -> Workflow:
    limit = Concurrency("k")
    return desk.submit(task("first", concurrency=limit), task("t", concurrency=limit))


def _workflow_limit(desk: Desk) -> Workflow:
    desk.submit(task("first"), workflow_id="other", concurrency=Concurrency("k"))
    return desk.submit(task("t"), concurrency=Concurrency("k"))


def _cache(desk: Desk) -> Workflow:
    return desk.submit(task("t", cache=CachePolicy(60)))


def _queued(desk: Desk) -> Workflow:
    desk.engine.draining = True
    return desk.submit(task("t"))


def _backoff(desk: Desk) -> Workflow:
    workflow = desk.submit(task("t", attempts=2))
    desk.fail("t")
    return workflow


def _places(desk: Desk) -> Workflow:
    """At a foreign provider, which other coordinators call, too."""
    desk.engine = Engine(CATALOGUE, Identity("c", 1, "me", shards=8, epochs=dict.fromkeys(range(8), 1)))
    desk.tell(inp.ProviderReady("p", "p#1", METHODS, 2, foreign="ws://p"))
    return desk.submit(task("t"))


def _provider_busy(desk: Desk) -> Workflow:
    workflow = desk.submit(task("t"))
    desk.tell(inp.CallNotStarted(desk.call("t"), "busy", 5.0))
    return workflow


def _inner(method: str, **params: object) -> object:
    return lambda desk: desk.submit(task("t", method=method, params=params))


def _child(desk: Desk) -> Workflow:
    return desk.submit(task("t", method="workflow/run", workflow=definition(task("inner"))))


def _items(desk: Desk) -> Workflow:
    return desk.submit(task("t", for_each=ForEach(over=raw([1, 2]))))


def _last(desk: Desk) -> Workflow:
    return desk.submit(task("first"), task("t", trigger="always", late=True))


def _loop(desk: Desk) -> Workflow:
    workflow = desk.submit(task("t", until=Until("${t.n} >= 3", every_seconds=5.0)))
    desk.complete("t", {"n": 1})
    return workflow


REASONS = {
    "items": _items,
    "last": _last,
    "loop": _loop,
    "dependency": _dependency,
    "no_provider": _no_provider,
    "busy": _busy,
    "draining": _draining,
    "max_parallel": _max_parallel,
    "paused": _paused,
    "held": _held,
    "concurrency": _task_limit,
    "concurrency of the workflow": _workflow_limit,
    "queued": _queued,
    "cache": _cache,
    "backoff": _backoff,
    "provider_busy": _provider_busy,
    "places": _places,
    "timer": _inner("timer/sleep", seconds=5),
    "timer until": _inner("timer/until", cron="0 0 * * *"),
    "signal": _inner("signal/wait", name="go"),
    "signal any": _inner("signal/wait_any", names=["a", "b"]),
    "signal all": _inner("signal/wait_all", names=["a", "b"]),
    "approval": _inner("approval/ask", message="Go?"),
    "child": _child,
}


@pytest.mark.parametrize("name", REASONS)
def test_what_waits_says_why(name: str) -> None:
    desk = Desk()
    workflow = REASONS[name](desk)  # type: ignore[operator]  # a function of the desk
    found = workflow.tasks["t"]
    assert found.state in WAITING
    told = explain(desk.engine, workflow, found, desk.now)
    assert told.reason == name.split()[0]
    assert told.message
    assert told.status == found.state


def test_there_is_no_reason_that_nobody_has_seen() -> None:
    folder = Path(explain_module.__file__).parent
    told = set()
    for name in ("explain.py", "scheduling/pools.py", "scheduling/scheduler.py"):
        for node in ast.walk(ast.parse((folder / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
                first = node.value.elts[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    told.add(first.value)
    ended = {"running", "provider_unreachable", "budget_exceeded", "failed", "dependency_failed", "cancelled", "cached",
             "completed"}  # fmt: skip
    seen = {name.split()[0] for name in REASONS} | ended
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")]
    for reason in told - seen:
        assert any(f'"{reason}"' in text for text in texts), f"no test shows the reason {reason}"


def test_every_state_can_be_explained() -> None:
    desk = Desk()
    workflow = desk.submit(task("t"))
    assert raw(1)
    for state in ("pending", "ready", "running", "retrying", "waiting", "completed", "failed", "skipped", "cancelled"):
        workflow.tasks["t"].state = state
        assert explain(desk.engine, workflow, workflow.tasks["t"], desk.now).message
