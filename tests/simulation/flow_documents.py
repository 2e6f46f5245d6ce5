"""What documents of the simulation say of when, how often and whether their tasks run."""

from random import Random

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gleitzeit.model.definition import Case, ForEach, RetryPolicy, Switch, TaskDefinition, Until
from gleitzeit.spec.linking.linked_flow import with_late_ones

CALLED = ("sim/work", "sim/pay")


def with_flow(tasks: tuple[TaskDefinition, ...]) -> tuple[TaskDefinition, ...]:
    """The same document for the same tasks; about half of them are left as they are."""
    random = Random(msgspec.json.encode(tasks))
    if random.random() < 0.4:
        return tasks
    made = [_changed(random, task) for task in tasks]
    if len(made) > 2 and random.random() < 0.4:
        made = _switched(random, made)
    last = [task.id for task in made if task.trigger != "success" and random.random() < 0.5]
    return with_late_ones(made, last)


def _changed(random: Random, task: TaskDefinition) -> TaskDefinition:
    if task.dependencies and random.random() < 0.2:
        task = replace(task, when=f"string(${{{random.choice(task.dependencies)}}}).size() % 3 != 0")
    if random.random() < 0.15:
        task = replace(task, trigger=random.choice(["always", "always", "failure"]))
    if task.method not in CALLED:
        return task
    if random.random() < 0.3:
        task = _many(random, task)
    if random.random() < 0.2:
        task = _rounds(random, task)
    if random.random() < 0.3:
        task = replace(task, undo=_undo(random, task))
    return task


def _with_params(task: TaskDefinition, **params: object) -> TaskDefinition:
    """In all of its calls."""
    fallback = tuple(replace(other, params=_merged(other.params, params)) for other in task.fallback)
    return replace(task, params=_merged(task.params, params), fallback=fallback)


def _merged(params: Raw, more: dict[str, object]) -> Raw:
    return Raw(msgspec.json.encode({**msgspec.json.decode(params), **more}))


def _many(random: Random, task: TaskDefinition) -> TaskDefinition:
    count = random.choice([0, 1, 2, 3, 6])
    matrix = random.random() < 0.3
    over: object = {"axes": {"a": list(range(count)), "b": [7, 8]}} if matrix else list(range(count))
    each = random.random() < 0.3
    for_each = ForEach(
        Raw(msgspec.json.encode(over)),
        matrix=matrix,
        max_parallel=random.choice([None, 1, 2]),
        on_item_error=random.choice(["fail", "skip", "collect"]),
        when_each=each,
    )
    task = _with_params(task, item="${item}", index="${index}")
    return replace(task, for_each=for_each, when="${index} % 2 == 0" if each else task.when)


def _rounds(random: Random, task: TaskDefinition) -> TaskDefinition:
    until = Until(
        f"${{{task.id}.value}} % 3 == 0",
        max=random.randint(1, 4),
        every_seconds=random.choice([0.0, 0.5, 3.0]),
        on_exhausted=random.choice(["fail", "continue"]),
    )
    return replace(_with_params(task, round="${loop.round}", last="${loop.last.value}"), until=until, cache=None)


def _undo(random: Random, task: TaskDefinition) -> TaskDefinition:
    params = {"n": random.randrange(1000), "in": [], "note": "$${t0.value}", "undoes": f"${{{task.id}.value}}"}
    return TaskDefinition(
        id=f"{task.id}[undo]",
        method=random.choice(CALLED),
        params=Raw(msgspec.json.encode(params)),
        references=True,
        retry=RetryPolicy(max_attempts=random.choice([1, 3]), base_delay_seconds=0.1, max_delay_seconds=1.0),
    )


def _switched(random: Random, tasks: list[TaskDefinition]) -> list[TaskDefinition]:
    """One of them chooses between two that follow."""
    at = random.randrange(len(tasks) - 2)
    one, other = random.sample(range(at + 1, len(tasks)), 2)
    old = tasks[at]
    condition = f"string(${{{old.dependencies[0]}}}).size() % 2 == 0" if old.dependencies else "1 == 2"
    switch = Switch(cases=(Case((tasks[one].id,), when=condition),), default=(tasks[other].id,))
    made = list(tasks)
    made[at] = TaskDefinition(
        id=old.id, method="flow/switch", dependencies=old.dependencies, priority=old.priority, on_error=old.on_error,
        switch=switch, trigger=old.trigger, when=old.when if "index" not in old.when else "",
    )  # fmt: skip
    for number in (one, other):
        needs = dict.fromkeys((*made[number].dependencies, old.id))
        made[number] = replace(made[number], dependencies=tuple(needs))
    return made
