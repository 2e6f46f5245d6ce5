"""What is said while nothing moves; the clock is not waited for, and the coordinator answers from a script."""

import asyncio
from typing import Any, cast

import pytest

from gleitzeit.client import Client
from gleitzeit.client.views import Explained, Explanation
from gleitzeit.errors import ConnectionLost
from gleitzeit.model import events as ev
from gz_cli.following import stuck
from gz_cli.following.progress import WorkflowProgress

NOBODY = "no provider serves words/count"


class Explainer:
    """The one method of a client that is asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = asyncio.Event()

    async def explain(self, workflow_id: str) -> Explained:
        answer = self.answers.pop(0)
        if not self.answers:
            self.asked.set()
        if isinstance(answer, Exception):
            raise answer
        return Explained(workflow_id, "pending", answer)


def waiting(name: str, reason: str = "no_provider", message: str = NOBODY) -> Explanation:
    return Explanation(name, "ready", reason, message)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stuck, "LOOK_SECONDS", 0)
    monkeypatch.setattr(stuck, "AGAIN_SECONDS", 0)


async def said(explainer: Explainer, progress: WorkflowProgress) -> list[str]:
    texts: list[str] = []
    telling = asyncio.create_task(stuck.tell_why(cast("Client", explainer), progress, texts.append))
    await asyncio.wait_for(explainer.asked.wait(), 30)
    await asyncio.sleep(0)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    return texts


async def test_each_reason_is_said_once_also_after_the_coordinator_was_away(progress: WorkflowProgress) -> None:
    shut = [[waiting("a", message=f"tried again in {seconds} s")] for seconds in ("2 min 4", "3")]
    explainer = Explainer([waiting("a")], ConnectionLost("gone"), [waiting("a")], *shut, [])
    assert await said(explainer, progress) == [f"a waits: {NOBODY}", "a waits: tried again in 2 min 4 s"]


async def test_what_waits_is_asked_for_too(progress: WorkflowProgress) -> None:
    progress.apply(ev.TaskWaiting(at=2000, task="find", attempt=1, child="c"))
    inner = [Explanation("find", "waiting", "child", "waits for workflow c", inner=waiting("x"))]
    assert await said(Explainer(inner, []), progress) == [f"find waits: {NOBODY}"]


async def test_while_something_runs_nobody_asks(progress: WorkflowProgress) -> None:
    progress.apply(ev.TaskStarted(at=2000, task="find", attempt=1, provider="python", instance="i"))
    telling = asyncio.create_task(stuck.tell_why(cast("Client", Explainer()), progress, print))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not telling.done()  # it would have failed for want of an answer
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


def test_tasks_with_one_reason_are_one_sentence() -> None:
    tasks = [waiting("a"), waiting("b"), waiting("c"), waiting("d", "queued", "next"),
             Explanation("e", "pending", "dependency", "waits for a")]  # fmt: skip
    assert stuck.sentences(tasks) == [f"a and 2 more wait: {NOBODY}"]


def test_what_holds_up_a_workflow_within_is_said() -> None:
    within = [
        Explanation(name, "waiting", "child", "waits for workflow c", inner=inner)
        for name, inner in (
            ("a", waiting("x")),
            ("b", Explanation("x", "waiting", "items", "0 of 3", inner=waiting("x[0]"))),
            ("c", Explanation("x", "waiting", "approval", "waits for a person")),
            ("d", Explanation("x", "running", "running", "has run for 1 s")),
        )
    ]
    assert stuck.sentences(within) == [f"a and 1 more wait: {NOBODY}", "c waits: for a person"]
