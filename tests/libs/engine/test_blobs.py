"""References that look into a blob: loaded first, by an effect; what passes through is never read."""

import msgspec
import pytest
from tests.libs.engine.builders import Desk, raw, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine.blobs import BlobNeeded, LoadedBlobs
from gleitzeit.errors import ParameterError
from gleitzeit.model.blobs import reference
from gleitzeit.model.definition import ForEach, Until

TEXT = msgspec.json.encode({"title": "war", "pages": [1, 2, 3]})


def test_a_value_is_needed_loaded_and_kept_while_there_is_room() -> None:
    loaded = LoadedBlobs(room_bytes=len(TEXT) + 2)
    blob = reference(TEXT)
    with pytest.raises(BlobNeeded) as caught:
        loaded.value(blob)
    loaded.add(caught.value.name, TEXT)
    assert loaded.value(blob) == {"title": "war", "pages": [1, 2, 3]}
    assert loaded.value({**blob, "as": "text"}) == TEXT.decode()
    loaded.add(reference(b"[1]")["$blob"], b"[1]")
    with pytest.raises(BlobNeeded):
        loaded.value(blob)


def test_one_that_is_larger_than_the_room_can_be_read_all_the_same() -> None:
    loaded = LoadedBlobs(room_bytes=1)
    loaded.add(reference(TEXT)["$blob"], TEXT)
    assert loaded.value(reference(TEXT)) == msgspec.json.decode(TEXT)


def test_a_problem_is_told_once_and_then_asked_for_again() -> None:
    loaded = LoadedBlobs()
    blob = reference(TEXT)
    loaded.add_problem(blob["$blob"], "it is gone")
    with pytest.raises(ParameterError, match="it is gone"):
        loaded.value(blob)
    with pytest.raises(BlobNeeded):
        loaded.value(blob)
    loaded.add(reference(b"{")["$blob"], b"{")
    with pytest.raises(ParameterError, match="cannot be read"):
        loaded.value(reference(b"{"))


# In the engine


def loads(desk: Desk) -> list[str]:
    return [effect.name for effect in desk.last.effects if isinstance(effect, fx.LoadBlob)]


def name(content: bytes) -> str:
    return str(reference(content)["$blob"])


def test_what_passes_through_is_never_loaded() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"message": "${a.text}"}))
    desk.complete("a", {"text": reference(TEXT)})
    assert loads(desk) == []
    assert reference(TEXT)["$blob"].encode() in desk.engine.params_of(desk.call("b"))


@pytest.mark.parametrize(
    ("message", "meant"),
    [
        ("${a.result.pages[1]}", 2),
        ("of ${a.result.title}", "of war"),
        ("all: ${a.result}", f"all: {TEXT.decode()}"),
        ("${a.pages[0] + 1}", 2),
    ],
)
def test_what_looks_inside_starts_when_it_is_loaded(message: str, meant: object) -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"message": message}))
    desk.complete("a", {"result": reference(TEXT)})
    assert (loads(desk), desk.states()["b"]) == ([name(TEXT)], "ready")
    desk.tell(fx.BlobLoaded(name(TEXT), TEXT))
    assert msgspec.json.decode(desk.engine.params_of(desk.call("b")))["message"] == meant


def test_several_wait_for_one_load_and_who_was_cancelled_meanwhile_does_not_start() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"m": "${a.result.title}"}),
                task("c", "a", params={"m": "${a.result.pages}"}))  # fmt: skip
    desk.complete("a", {"result": reference(TEXT)})
    assert loads(desk) == [name(TEXT)]
    desk.tell(fx.Cancel("token", "w"))
    desk.tell(fx.BlobLoaded(name(TEXT), TEXT))
    assert desk.states() == {"a": "completed", "b": "cancelled", "c": "cancelled"}
    assert desk.sent() == []


def test_a_value_that_is_lost_fails_the_task_that_needs_it() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"m": "${a.result.title}"}))
    desk.complete("a", {"result": reference(TEXT)})
    desk.tell(fx.BlobLoaded(name(TEXT), None, "no blob"))
    assert desk.states()["b"] == "failed"
    error = desk.workflow().tasks["b"].error
    assert error is not None
    assert "no blob" in error.message


def test_outputs_look_inside_too() -> None:
    desk = Desk()
    workflow = desk.submit(task("a"), outputs={"title": "${a.result.title}", "whole": ["${a.result}", 1]})
    desk.complete("a", {"result": reference(TEXT)})
    assert (workflow.state, loads(desk)) == ("running", [name(TEXT)])
    desk.tell(fx.BlobLoaded(name(TEXT), TEXT))
    assert msgspec.json.decode(workflow.outputs) == {"title": "war", "whole": [reference(TEXT), 1]}


def test_more_and_larger_values_than_there_is_room_for_fail_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.engine._blobs._room_bytes = 1
    other = b'{"title": "peace"}'
    desk.submit(task("a"), task("b", "a", params={"m": "${a.one.title} and ${a.two.title}"}))
    desk.complete("a", {"one": reference(TEXT), "two": reference(other)})
    contents = {name(TEXT): TEXT, name(other): other}
    for _ in range(20):
        for wanted in loads(desk):
            desk.tell(fx.BlobLoaded(wanted, contents[wanted]))
    assert desk.states()["b"] == "failed"


def test_a_call_that_never_arrived_is_sent_again_with_what_it_needs() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"m": "${a.result.title}"}))
    desk.complete("a", {"result": reference(TEXT)})
    desk.tell(fx.BlobLoaded(name(TEXT), TEXT))
    again = desk.restart()
    again.provider("p#1")
    call = again.call("b")
    again.tell(fx.CallUnknown(call, "p#1"))
    assert loads(again) == [name(TEXT)]
    again.tell(fx.BlobLoaded(name(TEXT), TEXT))
    assert again.sent() == ["b"]
    assert b'"m":"war"' in call.params


# In what decides where a workflow goes


def test_a_condition_a_switch_and_a_list_of_items_may_be_large() -> None:
    desk = Desk()
    desk.submit(
        task("a"),
        task("b", "a", when="${a.result.title} == 'war'"),
        task("c", "a", when="${a.result.title} == 'peace'"),
        task("d", "a", for_each=ForEach(over=raw("${a.result.pages}"), references=True), params={"n": "${item}"}),
    )
    desk.complete("a", {"result": reference(TEXT)})
    assert loads(desk) == [name(TEXT)]
    assert desk.sent() == []
    desk.tell(fx.BlobLoaded(name(TEXT), TEXT))
    states = desk.states()
    assert (states["b"], states["c"]) == ("running", "skipped")
    assert [task for task in states if task.startswith("d[")] == ["d[0]", "d[1]", "d[2]"]
    assert b'"n":3' in desk.engine.params_of(desk.call("d[2]"))


def test_a_round_ends_when_what_its_condition_reads_is_there() -> None:
    desk = Desk()
    desk.submit(task("a", until=Until("${a.result.title} == 'war'", max=3)))
    desk.complete("a", {"result": reference(TEXT)})
    assert (loads(desk), desk.states()["a"]) == ([name(TEXT)], "running")
    assert not any(isinstance(effect, fx.AckCall) for effect in desk.last.effects)
    desk.tell(fx.BlobLoaded(name(TEXT), TEXT))
    assert desk.states()["a"] == "completed"
    assert any(isinstance(effect, fx.AckCall) for effect in desk.last.effects)
