"""The laws of what waits in the coordinator, read from the journal alone.

23. A signal is taken at most once, by a task that waits for it, as it was sent; no task fails for want of one that is
    there. What a task sends has arrived by the commit in which the task ends, and arrives once.
24. A child begins in the commit in which its task begins to wait, and ends in the one in which the task ends.
25. No more tasks of a key are under way than its limit, and no more workflows, whoever has them.
"""

import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gleitzeit.engine.decisions.core import call_id
from gleitzeit.model import events as ev

if TYPE_CHECKING:
    from tests.simulation.laws import Durable

_BEGINS = (ev.TaskStarted, ev.TaskWaiting, ev.TaskCached, ev.TasksAdded)
_ENDS = (ev.WorkflowCompleted, ev.WorkflowFailed, ev.WorkflowCancelled)


class Breach(Exception):
    def __init__(self, law: int, what: str) -> None:
        super().__init__(what)
        self.law = law


class TimeLaws:
    """Told of every event, in the order of the journal, before and after it is applied to what is durable."""

    def __init__(self, durable: Mapping[str, "Durable"], counts: dict[str, int]) -> None:
        self._durable = durable
        self._counts = counts
        self._kept: dict[str, list[tuple[str, Any, str]]] = {}
        """By workflow: the signals that nobody has taken, as (name, payload, sender)."""
        self._wants: dict[tuple[str, str], tuple[tuple[str, ...], bool]] = {}
        """By task that waits: for which signals, and whether for all."""
        self._waits: dict[str, tuple[str, str]] = {}
        """By child: the task that waits for it."""
        self._running: dict[str, set[tuple[str, str]]] = {}
        """By key: the tasks under way."""
        self._under_way: dict[str, set[str]] = {}
        """By key: the workflows."""
        self._sent: list[tuple[str, str, set[str]]] = []
        self._arrived: list[tuple[str, str]] = []
        self._keys: dict[str, set[str]] = {}
        """By idempotency key of a signal: the workflows that have it."""
        self._begun: set[str] = set()
        self._ended: list[tuple[str, str]] = []

    def event(self, stream: str, event: ev.AnyEvent) -> None:
        """After it was applied."""
        match event:
            case ev.SignalReceived():
                self._kept.setdefault(stream, []).append((event.name, msgspec.json.decode(event.payload), event.sender))
                if event.idempotency_key:
                    self._arrived_by_key(stream, event)
                elif event.sender:
                    self._arrived.append((event.sender, stream))
            case ev.WorkflowSubmitted():
                self._begun.add(stream)
            case ev.TaskWaiting():
                self._waiting(stream, event)
            case ev.TaskCompleted():
                self._completed(stream, event)
            case ev.TaskFailed():
                self._failed(stream, event)
            case ev.TaskCancelled():
                self._wants.pop((stream, event.task), None)
        if isinstance(event, _ENDS) and stream in self._waits:
            self._ended.append((stream, self._durable[stream].status))
        name = getattr(event, "task", None)
        if name is not None:
            self._limits(stream, name)
        self._limits_of_workflows(stream, event)

    def _arrived_by_key(self, stream: str, event: ev.SignalReceived) -> None:
        having = self._keys.setdefault(event.idempotency_key, set())
        if stream in having:
            raise Breach(23, f"{stream} has the signal {event.idempotency_key} twice")
        having.add(stream)
        sender, _, _ = event.idempotency_key.partition("/")
        self._counts["crossed"] += urllib.parse.unquote(sender) != stream

    def _waiting(self, stream: str, event: ev.TaskWaiting) -> None:
        if event.signals:
            self._wants[stream, event.task] = event.signals, event.all
        if event.child:
            self._counts["children"] += 1
            self._waits[event.child] = stream, event.task

    def _completed(self, stream: str, event: ev.TaskCompleted) -> None:
        method = self._durable[stream].tasks[event.task].definition.method
        result = msgspec.json.decode(event.result)
        if (stream, event.task) in self._wants:
            names, every = self._wants.pop((stream, event.task))
            taken = list(result["signals"].values()) if "signals" in result else [result]
            if sorted(one["signal_name"] for one in taken) != sorted(names) and every:
                raise Breach(23, f"{stream}/{event.task} waited for all of {names} and took {taken}")
            for one in taken:
                signal = one["signal_name"], one["payload"], one["sender"]
                kept = self._kept.get(stream, [])
                if signal[0] not in names or signal not in kept:
                    raise Breach(23, f"{stream}/{event.task} took {signal}, which is not there for it: {kept}")
                kept.remove(signal)
                self._counts["signals"] += 1
        elif method in ("signal/send", "signal/broadcast"):
            key = call_id(stream, event.task, event.attempt)
            self._sent.append((stream, key, set(result["workflows"])))

    def _failed(self, stream: str, event: ev.TaskFailed) -> None:
        names, every = self._wants.pop((stream, event.task), ((), False))
        here = {name for name, _, _ in self._kept.get(stream, [])} & set(names)
        if names and (here == set(names) if every else here):
            raise Breach(23, f"{stream}/{event.task} fails for want of {names}, of which {here} are there")

    def _limits(self, stream: str, name: str) -> None:
        task = self._durable[stream].tasks[name]
        limit = task.definition.concurrency
        if limit is None or task.items is not None:  # of many, each item has a permit
            return
        under_way = self._running.setdefault(limit.key, set())
        if task.state in ("running", "waiting"):
            under_way.add((stream, name))
        else:
            under_way.discard((stream, name))

    def _limits_of_workflows(self, stream: str, event: ev.AnyEvent) -> None:
        """What runs last of one that was turned away needs no permit."""
        durable = self._durable[stream]
        limit = durable.definition.concurrency
        if limit is None:
            return
        under_way = self._under_way.setdefault(limit.key, set())
        if isinstance(event, _ENDS):
            under_way.discard(stream)
        elif isinstance(event, _BEGINS) and durable.closing is None and stream not in under_way:
            under_way.add(stream)

    def committed(self) -> None:
        """The commit is whole."""
        for child in [child for child in self._waits if child not in self._durable]:
            raise Breach(24, f"{self._waits[child]} waits for {child}, which was not begun with it")
        for child in self._begun:
            if "~" in child and child not in self._waits:
                raise Breach(24, f"{child} was begun, and no task waits for it")
        for child, status in self._ended:
            parent, name = self._waits.pop(child)
            task = self._durable[parent].tasks[name]
            is_its_own = child == f"{parent}~{name}~{task.attempt}"  # not one that was given up, and took its time
            if is_its_own and task.state == "waiting" and not self._durable[parent].final:
                raise Breach(24, f"{child} is {status}, and its task {parent}/{name} still waits")
        for sender, key, ids in self._sent:
            arrived = self._keys.get(key, set()) or {to for by, to in self._arrived if by == sender}
            if not ids <= arrived:
                raise Breach(23, f"{sender} says that it has sent {key} to {ids}, and it has arrived at {arrived}")
        for key, under_way in self._running.items():
            limits = [self._durable[s].tasks[n].definition.concurrency.limit for s, n in under_way]
            if limits and len(under_way) > min(limits):
                raise Breach(25, f"{len(under_way)} tasks of {key} are under way, which has a limit of {min(limits)}")
        for key, workflows in self._under_way.items():
            most = min((self._durable[one].definition.concurrency.limit for one in workflows), default=0)
            if len(workflows) > most:
                raise Breach(25, f"{workflows} of {key} are under way, which has a limit of {most}")
        self._sent, self._arrived, self._ended = [], [], []
        self._begun = set()
