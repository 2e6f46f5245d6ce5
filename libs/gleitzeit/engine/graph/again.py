"""Which tasks run again when somebody retries a workflow that failed or was cancelled.

What did not complete; what was undone, and all that was made of it; what runs at the end of every run. A task whose
items did not all complete keeps those that did.
"""

from collections.abc import Collection, Iterable, Iterator

from gleitzeit.engine.graph.cleanup import is_spared
from gleitzeit.engine.state.workflow import STEP, Task, Workflow
from gleitzeit.errors import InvalidState


def _of_document(task: Task) -> Task:
    while (above := task.origin or task.parent) is not None:
        task = above
    return task


def _onward(tasks: Iterable[Task], found: dict[Task, None]) -> Iterator[None]:
    """These and all that depends on them, however far, into `found`."""
    stack = list(tasks)
    while stack:
        task = stack.pop()
        if task not in found:
            found[task] = None
            stack.extend(task.dependents)
            if len(found) % STEP == 0:
                yield


def _pieces(tasks: list[Task]) -> Iterator[list[Task]]:
    for start in range(0, len(tasks), STEP):
        yield tasks[start : start + STEP]


def can_run_again(workflow: Workflow, names: Collection[str]) -> tuple[str, ...]:
    """The tasks to retry if somebody names these (of an item the task that it belongs to), or none, which is all: they
    and everything that waits for them, however far; without those that would wait for ever, for a task that did not
    complete either and is not tried again. Raises InvalidState if there is none, or not the time for it."""
    *_, found = can_run_again_in_steps(workflow, names)
    return found


def can_run_again_in_steps(workflow: Workflow, names: Collection[str]) -> Iterator[tuple[str, ...]]:
    """As `can_run_again`, for who has others waiting: what comes last is the answer. Nothing may move meanwhile."""
    if workflow.state not in ("failed", "cancelled"):
        message = f"workflow {workflow.id} is {workflow.state}: only what failed or was cancelled can be retried"
        raise InvalidState(message, {"status": workflow.state})
    tasks = list(workflow.document_tasks())
    named = [_of_document(workflow.tasks[name]) for name in names if name in workflow.tasks]
    chosen: dict[Task, None] = {}
    for _ in _onward(named, chosen):
        yield ()
    found: set[str] = set()
    undone: list[Task] = []
    for some in _pieces(tasks):
        found.update(task.id for task in some if (not named or task in chosen) and _missed(task))
        undone += filter(_was_undone, some)
        yield ()
    anew: dict[Task, None] = {}
    for _ in _onward(undone, anew):
        yield ()
    found |= {task.id for task in anew if task.ended}
    for _ in _without_stuck(workflow, found):
        yield ()
    if not found:
        raise InvalidState(_why_not(workflow, names))
    drawn: set[str] = set()
    for _ in _draw_along(tasks, found, drawn):
        yield ()
    found |= drawn
    answer: list[str] = []
    for some in _pieces(tasks):
        answer += [task.id for task in some if task.id in found]
        yield ()
    yield tuple(answer)


def _without_stuck(workflow: Workflow, found: set[str]) -> Iterator[None]:
    """Takes those out of `found` that would wait for ever."""
    stuck: list[str] = []
    for number, name in enumerate(found):
        if workflow.tasks[name].definition.dependencies and obstacles(workflow, workflow.tasks[name], found):
            stuck.append(name)
        if number % STEP == STEP - 1:
            yield
    while stuck:
        name = stuck.pop()
        found.discard(name)
        stuck += [d.id for d in workflow.tasks[name].dependents if d.id in found]
    yield


def is_to_repeat(task: Task) -> bool:
    """Whether somebody can ask for this task to run again."""
    return _missed(task) or _was_undone(task)


def _missed(task: Task) -> bool:
    """Whether it should have run to its end, and did not."""
    return task.state in ("failed", "cancelled") or (task.state == "skipped" and not task.bypassed)


def _was_undone(task: Task) -> bool:
    return task.undone or (task.fan is not None and any(item.undone for item in task.fan.items))


def _draw_along(tasks: list[Task], names: set[str], found: set[str]) -> Iterator[None]:
    """What was not wanted may be now; what runs at the end runs at the end of this run, too. `found` gets them."""
    stack: list[Task] = []
    for some in _pieces(tasks):
        found.update(task.id for task in some if task.definition.late and task.ended)
        stack += [task for task in some if task.dependents and task.id in names]
        yield
    number = 0
    while stack:
        for dependent in stack.pop().dependents:
            again = dependent.bypassed or is_spared(dependent)
            if again and dependent.ended and dependent.id not in names and dependent.id not in found:
                found.add(dependent.id)
                stack.append(dependent)
        number += 1
        if number % STEP == 0:
            yield


def obstacles(workflow: Workflow, task: Task, retried: set[str]) -> list[Task]:
    """The dependencies for want of which a task cannot run although `retried` are tried again."""
    dependencies = (workflow.tasks[name] for name in task.definition.dependencies)
    return [d for d in dependencies if d.id not in retried and not workflow.meets(task, d)]


def _why_not(workflow: Workflow, wanted: Iterable[str]) -> str:
    for name in wanted:
        for obstacle in obstacles(workflow, workflow.tasks[name], set()):
            return f"task {name} needs {obstacle.id}, which is {obstacle.state}: retry {obstacle.id}"
    return f"nothing to retry in workflow {workflow.id}"
