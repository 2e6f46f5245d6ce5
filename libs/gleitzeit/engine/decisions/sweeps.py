"""What one decision means for very many tasks, spread over turns: each takes so many steps, and others have room."""

from collections.abc import Iterator
from typing import Any

from gleitzeit.engine.decisions.core import Core
from gleitzeit.engine.state.workflow import Workflow


class Sweeps(Core):
    @property
    def queued(self) -> int:
        """How many tasks are ready, also those that a later turn queues."""
        waiting = {**self._touched, **{name: self.workflows[name] for name in self._sweeps}}
        return self.scheduler.queued + sum(len(workflow.released) for workflow in waiting.values())

    @property
    def sweeping(self) -> bool:
        """Whether something takes more steps than one turn has room for."""
        return bool(self._sweeps)

    def _sweep(self, workflow: Workflow, steps: Iterator[None]) -> None:
        """Take these steps, as many as there is room for; the next turns go on. Each may record one event. They must
        follow from what is durable by then, for who starts anew."""
        if not self._walk(steps):
            self._sweeps.setdefault(workflow.id, []).append(steps)

    def _walk(self, steps: Iterator[None]) -> bool:
        """Whether none is left."""
        while self._room > 0:
            if next(steps, self) is self:
                return True
            self._room -= 1
        return False

    def _go_on(self) -> None:
        """With what has begun before this turn; one after the other, and the others have room, too."""
        for workflow in [self.workflows[name] for name in self._sweeps]:
            sweeps = self._sweeps.pop(workflow.id, None)
            if sweeps is None:  # a child that has ended with its parent a moment ago
                continue
            while sweeps and not workflow.final and self._walk(sweeps[-1]):
                sweeps.pop()
            if sweeps and not workflow.final:
                self._sweeps[workflow.id] = sweeps + self._sweeps.get(workflow.id, [])
            elif workflow.id not in self._sweeps:
                self._answer_askers(workflow)
            self._touch(workflow)

    def _answer_then(self, token: Any, workflow: Workflow) -> None:
        """When all has happened that follows from what was asked for."""
        self._askers.setdefault(workflow.id, []).append(token)
        if workflow.id not in self._sweeps:
            self._answer_askers(workflow)

    def _answer_askers(self, workflow: Workflow) -> None:
        for token in self._askers.pop(workflow.id, ()):
            self._answer(token, workflow)

    def take_askers(self) -> list[Any]:
        """All who wait for the end of something that takes many turns. It goes on, and nobody is answered then."""
        askers = [token for tokens in self._askers.values() for token in tokens]
        self._askers.clear()
        return askers

    def _forget_sweeps(self, workflow: Workflow) -> list[Any]:
        """Returns who waits for their end."""
        self._sweeps.pop(workflow.id, None)
        self._stopping.pop(workflow.id, None)
        return self._askers.pop(workflow.id, [])
