"""The ready tasks that compete for the same providers, in the order in which they should start.

Four levels by priority; within a level the workflows take turns, so that a batch of 10,000 does not block a chat. A
level that is passed over PATIENCE times in a row is served next, so that low never starves.
"""

from collections import deque
from collections.abc import Iterator

from gleitzeit.engine.state.workflow import Task, Workflow

PATIENCE = 16
LEVELS = 4
SPARE = 64
"""Tasks that are taken may stay so many in a lane, and lanes that are taken out in a level."""


class Lane:
    """The ready tasks of one workflow at one level of one queue, first come first served.

    A list: there may be 100,000 lanes of one task, and an empty deque takes 600 bytes more.
    """

    __slots__ = ("_taken", "_tasks", "level", "queue", "workflow")

    def __init__(self, queue: "Queue", workflow: Workflow, level: int, tasks: list[Task]) -> None:
        self.queue = queue
        self.workflow = workflow
        self.level = level
        self._tasks = tasks
        self._taken = 0

    def __len__(self) -> int:
        return len(self._tasks) - self._taken

    @property
    def tasks(self) -> list[Task]:
        return self._tasks[self._taken :]

    def append(self, task: Task) -> None:
        self._tasks.append(task)

    def pop(self) -> Task:
        task = self._tasks[self._taken]
        self._taken += 1
        if self._taken >= SPARE and self._taken * 2 > len(self._tasks):
            del self._tasks[: self._taken]
            self._taken = 0
        return task

    def prepend(self, older: "Lane") -> None:
        self._tasks, self._taken = older.tasks + self.tasks, 0

    def moved(self) -> "Lane":
        """All of it, out of its place, where this one stays empty."""
        whole = Lane(self.queue, self.workflow, self.level, self.tasks)
        self._tasks, self._taken = [], 0
        del self.workflow  # it may be a large one, and forgotten before its place is
        return whole


class Queue:
    __slots__ = ("_empty", "_lanes", "_levels", "_passed", "size")

    def __init__(self) -> None:
        self._levels: tuple[deque[Lane], ...] = ()
        self._lanes: tuple[dict[str, Lane], ...] = ()
        """Both are made when the first task comes: most queues never see one, and are many."""
        self._empty = 0
        """Places in the levels where there is nothing any more: to look for each when it is given up would take longer
        the more there are."""
        self._passed = [0] * LEVELS
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[Workflow, Task]]:
        """What waits; most urgent level first, without changing whose turn it is."""
        for level in reversed(self._levels):
            for lane in level:
                for task in lane.tasks:
                    yield lane.workflow, task

    def push(self, workflow: Workflow, task: Task) -> None:
        if not self._levels:
            self._levels, self._lanes = tuple(deque() for _ in range(LEVELS)), tuple({} for _ in range(LEVELS))
        level = task.definition.priority - 1
        lane = self._lanes[level].get(workflow.id)
        if lane is None:
            lane = self._lanes[level][workflow.id] = Lane(self, workflow, level, [task])
            self._levels[level].append(lane)
        else:
            lane.append(task)
        self.size += 1

    def top(self) -> Lane | None:
        """A lane of the highest level at which something waits, whoever's turn it is."""
        if self.size:
            for level in range(LEVELS - 1, -1, -1):
                if self._lanes[level]:
                    return next(iter(self._lanes[level].values()))
        return None

    def has_above(self, level: int) -> bool:
        """Whether something waits at a higher level."""
        return any(self._lanes[level + 1 :])

    def lane(self) -> Lane | None:
        """The lane whose turn it is, or None if nothing waits. Then `take` from it, or `detach` its workflow."""
        if not self.size:
            return None
        if self._empty:
            self._skip_empty()
        waiting = [level for level in range(LEVELS - 1, -1, -1) if self._levels[level]]
        chosen = waiting[0]
        for level in waiting[1:]:
            self._passed[level] += 1
            if self._passed[level] > PATIENCE:
                chosen = level
        self._passed[chosen] = 0
        return self._levels[chosen][0]

    def _skip_empty(self) -> None:
        for lanes in self._levels:
            while lanes and not lanes[0]:
                lanes.popleft()
                self._empty -= 1

    def take(self, lane: Lane) -> Task:
        """The first task of a lane that `lane()` gave; the turn passes to the next workflow."""
        lanes = self._levels[lane.level]
        task = lane.pop()
        self.size -= 1
        if len(lane):
            lanes.rotate(-1)
        else:
            lanes.popleft()
            del self._lanes[lane.level][lane.workflow.id]
        return task

    def detach(self, workflow_id: str) -> list[Lane]:
        """Take out the lanes of a workflow, to be given back by `attach`, or to be forgotten."""
        lanes = []
        for known in self._lanes:
            lane = known.pop(workflow_id, None)
            if lane is not None:
                self.size -= len(lane)
                lanes.append(lane.moved())
                self._empty += 1
        if self._empty > SPARE and self._empty > sum(map(len, self._levels)) // 2:
            self._levels, self._empty = tuple(deque(filter(len, level)) for level in self._levels), 0
        return lanes

    def attach(self, lane: Lane) -> None:
        """Put back a lane that was detached; what came in the meantime queues behind it."""
        newer = self._lanes[lane.level].get(lane.workflow.id)
        self.size += len(lane)
        if newer is not None:
            newer.prepend(lane)
        else:
            self._lanes[lane.level][lane.workflow.id] = lane
            self._levels[lane.level].append(lane)
