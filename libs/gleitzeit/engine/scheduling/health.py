"""How well providers are, told by what becomes of the calls: each has a budget for repetitions, and a circuit for what
has failed at it (see `breaker`)."""

from collections.abc import Mapping

from gleitzeit.engine.scheduling import breaker
from gleitzeit.engine.scheduling.breaker import Circuit
from gleitzeit.engine.scheduling.pools import CircuitKey, Provider, repeats
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.model.definition import BreakerPolicy, TaskDefinition

MAX_LEFT = 1_000
"""Providers without a table of calls whose health is known while they are not connected."""


class Health:
    """Of the providers of `roster`, by instance; its owner puts them in and takes them out, and says so here."""

    def __init__(self, roster: Mapping[str, Provider]) -> None:
        self.changes: list[breaker.Change] = []
        """Circuits that have moved since the owner last emptied this list."""
        self._roster = roster
        self._left: dict[str, Provider] = {}
        """By url: those that keep no table of calls and are not connected now, as they were."""

    def came(self, provider: Provider) -> None:
        if provider.foreign in self._left:
            provider.go_on_from(self._left.pop(provider.foreign))

    def left(self, provider: Provider) -> None:
        if provider.foreign:
            self._left[provider.foreign] = provider
            while len(self._left) > MAX_LEFT:
                del self._left[next(iter(self._left))]

    def enter(self, call: Call) -> None:
        """A call is about to start; before its TaskStarted is applied. `leave` it when it is over."""
        provider = self._roster.get(call.instance)
        if provider is None:
            return
        if repeats(call.task):
            provider.budget.repetition()
        else:
            provider.budget.first_attempt()
        if provider.circuits:
            call.circuit = provider.circuits.get(_circuit_key(call))
            call.probe = call.circuit is not None and call.circuit.enter()

    def leave(self, call: Call) -> None:
        """A call is over, in whatever way."""
        if call.circuit is not None:
            call.circuit.leave(call.probe)

    def succeeded(self, call: Call) -> None:
        """What its provider answered shows that the provider is well, be it an error of the task."""
        if call.circuit is not None and call.circuit.succeeded(call.probe):
            self._changed(call, call.circuit, "closed")

    def failed(self, call: Call, now: int) -> Circuit | None:
        """Its provider is not well. The circuit, if that opens one."""
        return self._failed(call, self._roster.get(call.instance), now)

    def lost(self, call: Call, now: int) -> Circuit | None:
        """Its connection has ended with it, at a provider that keeps no table of calls: that is a failure like others.
        The circuit, if that opens one."""
        return self._failed(call, next((p for p in self._left.values() if p.instance == call.instance), None), now)

    def _failed(self, call: Call, provider: Provider | None, now: int) -> Circuit | None:
        if provider is None:
            return None
        circuit = call.circuit
        if circuit is None:
            circuit = provider.circuit(_circuit_key(call), now)
        if not circuit.failed(call.probe, now):
            return None
        self._changed(call, circuit, "open")
        return circuit

    def _changed(self, call: Call, circuit: Circuit, state: breaker.State) -> None:
        seconds = circuit.open_ms / 1000 if state == "open" else 0.0
        self.changes.append(breaker.Change(call.provider, call.instance, call.method, state, circuit.failures, seconds))


def policy_of(workflow: Workflow, definition: TaskDefinition) -> BreakerPolicy | None:
    """The circuit breaker that the workflow asks for: by method, by provider's name, or by protocol."""
    breakers, method = workflow.definition.breakers, definition.method
    return breakers.get(method) or breakers.get(definition.provider) or breakers.get(method.partition("/")[0])


def _circuit_key(call: Call) -> CircuitKey:
    own = policy_of(call.workflow, call.task.definition) if call.workflow.definition.breakers else None
    return call.method, own or breaker.DEFAULT
