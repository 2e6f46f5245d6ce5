"""A trace goes on as the W3C has it, and the same call has the same place in it, whenever it is made."""

import pytest

from gleitzeit.model.traces import accepted, carried_on

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def test_what_was_given_goes_on_by_its_trace_and_flags() -> None:
    version, trace, span, flags = carried_on(GIVEN, "w", "w/a/1").split("-")
    assert (version, trace, flags) == ("00", GIVEN.split("-")[1], "00")
    assert len(span) == 16
    assert span != GIVEN.split("-")[2]


def test_a_workflow_begins_one_of_its_own_and_each_call_has_its_place() -> None:
    calls = [carried_on("", workflow, f"{workflow}/a/{n}") for workflow in "vw" for n in (1, 2)]
    assert len(set(calls)) == 4
    assert len({call.split("-")[1] for call in calls}) == 2
    assert calls[0] == carried_on("", "v", "v/a/1")
    assert all(accepted(call) for call in calls)
    child = carried_on(calls[0], "v~a~1", "v~a~1/b/1")
    assert child.split("-")[1] == calls[0].split("-")[1]


@pytest.mark.parametrize(
    "given",
    [
        None, 5, "", "x", GIVEN[:-1], GIVEN.upper(), GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        GIVEN.replace("00f067aa0ba902b7", "0" * 16), "ff" + GIVEN[2:], GIVEN + "x", GIVEN + "-" + "x" * 600,
    ],
)  # fmt: skip
def test_what_cannot_be_read_begins_a_new_one(given: object) -> None:
    assert accepted(given) == ""


def test_a_later_version_is_read_as_far_as_we_know_it() -> None:
    assert accepted(f"01{GIVEN[2:]}-more") != ""
