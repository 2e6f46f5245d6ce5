"""The ready tasks that compete for the same providers, in the order in which they should start.

Four levels by priority; within a level the workflows take turns, so that a batch of 10,000 does not block a chat. A
level that is passed over PATIENCE times in a row is served next, so that low never starves.
"""

from collections import deque
from collections.abc import Iterator

from gleitzeit.engine.workflow import Task, Workflow

PATIENCE = 16
LEVELS = 4


class Lane:
    """The ready tasks of one workflow at one level of one queue, first come first served."""

    __slots__ = ("level", "queue", "tasks", "workflow")

    def __init__(self, queue: "Queue", workflow: Workflow, level: int) -> None:
        self.queue = queue
        self.workflow = workflow
        self.level = level
        self.tasks: deque[Task] = deque()


class Queue:
    __slots__ = ("_lanes", "_levels", "_passed", "size")

    def __init__(self) -> None:
        self._levels: tuple[deque[Lane], ...] = tuple(deque() for _ in range(LEVELS))
        self._lanes: dict[tuple[str, int], Lane] = {}
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
        level = task.definition.priority - 1
        lane = self._lanes.get((workflow.id, level))
        if lane is None:
            lane = self._lanes[workflow.id, level] = Lane(self, workflow, level)
            self._levels[level].append(lane)
        lane.tasks.append(task)
        self.size += 1

    def lane(self) -> Lane | None:
        """The lane whose turn it is, or None if nothing waits. Then `take` from it, or `detach` its workflow."""
        waiting = [level for level in range(LEVELS - 1, -1, -1) if self._levels[level]]
        if not waiting:
            return None
        chosen = waiting[0]
        for level in waiting[1:]:
            self._passed[level] += 1
            if self._passed[level] > PATIENCE:
                chosen = level
        self._passed[chosen] = 0
        return self._levels[chosen][0]

    def take(self, lane: Lane) -> Task:
        """The first task of a lane that `lane()` gave; the turn passes to the next workflow."""
        lanes = self._levels[lane.level]
        task = lane.tasks.popleft()
        self.size -= 1
        if lane.tasks:
            lanes.rotate(-1)
        else:
            lanes.popleft()
            del self._lanes[lane.workflow.id, lane.level]
        return task

    def detach(self, workflow_id: str) -> list[Lane]:
        """Take out the lanes of a workflow, to be given back by `attach`, or to be forgotten."""
        lanes = []
        for level in range(LEVELS):
            lane = self._lanes.pop((workflow_id, level), None)
            if lane is not None:
                self._levels[level].remove(lane)
                self.size -= len(lane.tasks)
                lanes.append(lane)
        return lanes

    def attach(self, lane: Lane) -> None:
        """Put back a lane that was detached; what came in the meantime queues behind it."""
        newer = self._lanes.get((lane.workflow.id, lane.level))
        self.size += len(lane.tasks)
        if newer is None:
            self._lanes[lane.workflow.id, lane.level] = lane
            self._levels[lane.level].append(lane)
        else:
            lane.tasks.extend(newer.tasks)
            newer.tasks = lane.tasks
