"""The coordinator's functions are what their schemas say; what they do is shown over real sockets elsewhere."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest

from gleitzeit.schemas import builtin
from gz_coordinator.blobs.pieces import BlobMethods
from gz_coordinator.keeping.deletion import DeletionMethods
from gz_coordinator.methods.approvals import ApprovalMethods
from gz_coordinator.methods.batches import BatchMethods
from gz_coordinator.methods.explanations import ExplainMethods
from gz_coordinator.methods.history import HistoryMethods
from gz_coordinator.methods.listing import ListMethods
from gz_coordinator.methods.providers import ProviderMethods
from gz_coordinator.methods.reruns import RerunMethods
from gz_coordinator.methods.schedules import ScheduleMethods
from gz_coordinator.methods.templates import TemplateMethods
from gz_coordinator.methods.workflows import WorkflowMethods
from gz_coordinator.sharing.passed_on import CHECK, FORWARD
from gz_coordinator.sharing.peers import Peers
from gz_coordinator.sharing.permits import PermitExchange
from gz_coordinator.sharing.places import PlaceExchange
from gz_coordinator.sharing.signals import SignalExchange
from gz_coordinator.streams.copies import Copies


def functions() -> dict[str, Callable[..., Any]]:
    classes = (WorkflowMethods, ListMethods, HistoryMethods, ExplainMethods, ProviderMethods, TemplateMethods,
               ApprovalMethods, RerunMethods, ScheduleMethods, BlobMethods, BatchMethods, DeletionMethods, Copies,
               PermitExchange, PlaceExchange, SignalExchange)  # fmt: skip
    groups = (cls.__new__(cls) for cls in classes)
    found = {name: function for group in groups for name, function in group.table().items()}
    peers = Peers.__new__(Peers)
    return {**found, FORWARD: peers.forwarded, CHECK: peers.check_requests}


def test_what_is_described_is_served_and_nothing_else() -> None:
    assert set(functions()) == {method.name for method in builtin().coordinator_methods()}


@pytest.mark.parametrize("name", functions())
def test_params_by_position_are_those_that_the_schema_lists(name: str) -> None:
    schema = builtin().methods[name].params
    _request, *parameters = signature(functions()[name]).parameters.values()
    assert [parameter.name for parameter in parameters] == list(schema.get("properties", ()))
    assert {p.name for p in parameters if p.default is p.empty} == set(schema.get("required", ()))


@pytest.mark.parametrize("name", functions())
def test_null_is_taken_for_what_may_be_left_out(name: str) -> None:
    """As clients in TypeScript or Java send it, for each param that they say nothing of."""
    method = builtin().methods[name]
    for param in set(method.params.get("properties", ())) - set(method.params.get("required", ())):
        problems = method.take_params({param: None})
        assert [problem for problem in problems if problem.path] == [], param
