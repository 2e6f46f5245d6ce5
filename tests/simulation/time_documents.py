"""What documents of the simulation say of children, signals from task to task, people, and limits by key."""

from random import Random
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from tests.simulation.flow_documents import CALLED

from gleitzeit.model.definition import Concurrency, Definition, Priority, RetryPolicy, TaskDefinition, Until

INNER = ("timer/sleep", "timer/until", "signal/wait", "signal/wait_any", "signal/wait_all", "signal/send",
         "signal/broadcast", "approval/ask", "workflow/run")  # fmt: skip
"""Methods that run in the coordinator."""
LIMITS = {"k0": 1, "k1": 2}
"""One key, one limit, as authors have it."""


def with_time(tasks: tuple[TaskDefinition, ...], *, crowded: bool = False) -> tuple[TaskDefinition, ...]:
    """The same document for the same tasks; about half of them are left as they are. Where it is `crowded` most tasks
    have a key, their items too, and wait for each other."""
    random = Random(msgspec.json.encode(tasks) + b"time")
    if any(task.late and task.trigger == "failure" for task in tasks):
        return tasks  # whether those run when it is cancelled after a failure is for the laws of flow to say
    if crowded:
        return tuple(_limited(random, task, 0.9) for task in tasks)
    if random.random() < 0.5:
        return tasks
    limited = tuple(task if task.for_each is not None else _limited(random, task, 0.3) for task in tasks)
    number = random.randint(2, 4)
    first = next(
        (task.id for task in limited if not task.late), ""
    )  # what runs last is waited for by none that does not
    return (*limited, *(_more(random, f"x{i}", first, depth=0) for i in range(number)))


def with_questions(tasks: tuple[TaskDefinition, ...]) -> tuple[TaskDefinition, ...]:
    """The same document for the same tasks: before some of them call again what may have had its effect, they ask."""
    random = Random(msgspec.json.encode(tasks) + b"questions")
    return tuple(_asking(random, task) for task in tasks)


def _with_a_question(child: Definition) -> Definition:
    """Of what goes on when the workflow that waits for it has ended nobody is asked, who would look at that one."""
    first, *others = child.tasks
    return replace(child, tasks=(replace(first, on_lost="ask"), *others))


def _asking(random: Random, task: TaskDefinition) -> TaskDefinition:
    chances = [random.random() < 0.4 for _ in range(3)]
    if task.undo is not None and chances[0]:
        task = replace(task, undo=replace(task.undo, on_lost="ask"))
    if task.workflow is not None and chances[1]:
        task = replace(task, workflow=_with_a_question(task.workflow))
    return replace(task, on_lost="ask") if task.method in CALLED and chances[2] else task


def _limited(random: Random, task: TaskDefinition, share: float) -> TaskDefinition:
    if task.switch is not None or random.random() >= share:
        return task
    return replace(task, concurrency=_limit(random, "queue", "queue", "fail", "cancel_running"))


def limit_of_all(tasks: tuple[TaskDefinition, ...]) -> Concurrency | None:
    """Of the workflow as a whole; the same for the same tasks."""
    random = Random(msgspec.json.encode(tasks) + b"limit")
    if any(task.late and task.trigger == "failure" for task in tasks):
        return None  # as above: who takes its place cancels it
    return _limit(random, "queue", "queue", "queue", "fail", "cancel_running") if random.random() < 0.2 else None


def priority_of_all(tasks: tuple[TaskDefinition, ...]) -> Priority:
    """Of the workflow as a whole; the same for the same tasks."""
    return Random(msgspec.json.encode(tasks) + b"priority").choice(list(Priority))


def _limit(random: Random, *on_conflict: Any) -> Concurrency:
    key = random.choice(list(LIMITS))
    return Concurrency(key, LIMITS[key], random.choice(on_conflict))


def _more(random: Random, name: str, first: str, depth: int) -> TaskDefinition:
    """A task that waits or tells, perhaps behind the first one of the document."""
    method = random.choice(
        ["signal/wait_any", "signal/wait_all", "signal/send", "signal/broadcast", "approval/ask", "approval/ask",
         "workflow/run"]
    )  # fmt: skip
    if depth > 1 and method == "workflow/run":
        method = "signal/send"
    params: dict[str, Any] = {}
    if method in ("signal/wait_any", "signal/wait_all"):
        params = {"signal_names": random.choice([["a", "b"], ["b", "c"], ["c"]]), "timeout": random.choice([3, 30])}
    elif method == "signal/send":
        params = {"signal_name": random.choice("abc"), "payload": random.randrange(1000)}
        if random.random() < 0.7:
            params["target_workflows"] = ["child"]  # by a name that several may have, or none
    elif method == "signal/broadcast":
        params = {"signal_name": random.choice("abc"), "payload": random.randrange(1000)}
    elif method == "approval/ask":
        params = {"timeout": random.choice([2, 60]), "on_timeout": random.choice(["fail", "reject", "approve"])}
        params["on_reject"] = random.choice(["fail", "continue", "continue"])
    return TaskDefinition(
        id=name,
        method=method,
        params=Raw(msgspec.json.encode(params)),
        until=_until_yes(random, name) if params.get("on_reject") == "continue" else None,
        dependencies=(first,) if first and random.random() < 0.5 else (),
        retry=RetryPolicy(random.choice([1, 2]), "fixed", 0.5, jitter=False),
        timeout_seconds=random.choice([None, 20.0]) if method == "workflow/run" else None,
        on_error=random.choice(["fail", "skip"]),
        workflow=_child(random, depth + 1) if method == "workflow/run" else None,
    )


def _until_yes(random: Random, name: str) -> Until:
    """It asks again who has said no, or nothing."""
    return Until(f"${{{name}.approved}}", random.randint(2, 5), random.choice([0.0, 0.0, 3.0]), "continue")


def _child(random: Random, depth: int) -> Definition:
    work = TaskDefinition(
        id="c0",
        method=random.choice(["sim/work", "sim/pay"]),
        params=Raw(msgspec.json.encode({"n": random.randrange(1000), "in": [], "note": "$${t0.value}"})),
        references=True,
        retry=RetryPolicy(random.choice([1, 3]), "fixed", 0.5, jitter=False),
    )
    if random.random() < 0.3:
        work = replace(work, undo=replace(work, id="c0[undo]"))
    more = [_more(random, f"y{i}", "c0", depth) for i in range(random.randint(0, 1))]
    tasks = (work, *more, *([replace(work, id="last", trigger="always", late=True)] * (random.random() < 0.4)))
    return Definition(name="child", tasks=tasks, timeout_seconds=random.choice([None, None, 15.0]))
