"""References that look into a blob: loaded first, by an effect; what passes through is never read."""

import msgspec
import pytest
from msgspec import Raw
from tests.libs.engine.builders import Desk, raw, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.blobs import BlobNeeded, Looks
from gleitzeit.errors import BlobNotFound, ParameterError
from gleitzeit.model.blobs import Look, reference
from gleitzeit.model.definition import ForEach, Until
from gleitzeit.spec.references.looks import as_found, inside, whole
from gleitzeit.spec.references.paths import Missing, Unread

TEXT = msgspec.json.encode({"title": "war", "pages": [1, 2, 3]})


LOOK = Look("one", path=("title",))


def test_what_is_found_is_kept_while_there_is_room() -> None:
    looks = Looks(room_bytes=2_000)
    with pytest.raises(BlobNeeded) as caught:
        looks.value(LOOK)
    looks.add(caught.value.look, "war", 1_000)
    assert looks.value(LOOK) == "war"
    with pytest.raises(BlobNeeded):
        looks.value(Look("one", path=("pages",)))
    looks.add(Look("two"), "peace", 1_000)
    with pytest.raises(BlobNeeded):
        looks.value(LOOK)


def test_one_that_is_larger_than_the_room_can_be_read_all_the_same() -> None:
    looks = Looks(room_bytes=1)
    looks.add(LOOK, "war", 1_000)
    assert looks.value(LOOK) == "war"


def test_a_problem_is_told_once_and_then_asked_for_again() -> None:
    looks = Looks()
    looks.add_problem(LOOK, ParameterError("it is gone"))
    with pytest.raises(ParameterError, match="it is gone"):
        looks.value(LOOK)
    with pytest.raises(BlobNeeded):
        looks.value(LOOK)


# In the engine


def loads(desk: Desk) -> list[str]:
    return [effect.look.name for effect in desk.last.effects if isinstance(effect, fx.LookInto)]


def answer(desk: Desk, *contents: bytes) -> None:
    """All that the last turn wanted to see, and what follows."""
    known = {name(content): content for content in contents}
    wanted = [effect.look for effect in desk.last.effects if isinstance(effect, fx.LookInto)]
    for look in wanted:
        content = known[look.name]
        if look.path is None:
            desk.tell(inp.LookedInto(look, whole(content, look), len(content)))
            continue
        found = inside(Unread(Raw(content)), look)
        value = found if isinstance(found, Missing) else as_found(look, found, len(content))[0]
        desk.tell(inp.LookedInto(look, value, 10))


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
    answer(desk, TEXT)
    assert msgspec.json.decode(desk.engine.params_of(desk.call("b")))["message"] == meant


def test_several_wait_for_one_load_and_who_was_cancelled_meanwhile_does_not_start() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"m": "${a.result.title}"}),
                task("c", "a", params={"m": ["${a.result.title}"]}))  # fmt: skip
    desk.complete("a", {"result": reference(TEXT)})
    assert loads(desk) == [name(TEXT)]
    desk.tell(inp.Cancel("token", "w"))
    answer(desk, TEXT)
    assert desk.states() == {"a": "completed", "b": "cancelled", "c": "cancelled"}
    assert desk.sent() == []


def test_a_value_that_is_lost_fails_the_task_that_needs_it() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"m": "${a.result.title}"}))
    desk.complete("a", {"result": reference(TEXT)})
    look = next(effect.look for effect in desk.last.effects if isinstance(effect, fx.LookInto))
    desk.tell(inp.LookedInto(look, problem=BlobNotFound("no blob")))
    assert desk.states()["b"] == "failed"
    error = desk.workflow().tasks["b"].error
    assert error is not None
    assert "no blob" in error.message


def test_outputs_look_inside_too() -> None:
    desk = Desk()
    workflow = desk.submit(task("a"), outputs={"title": "${a.result.title}", "whole": ["${a.result}", 1]})
    desk.complete("a", {"result": reference(TEXT)})
    assert (workflow.state, loads(desk)) == ("running", [name(TEXT)])
    answer(desk, TEXT)
    assert msgspec.json.decode(workflow.outputs) == {"title": "war", "whole": [reference(TEXT), 1]}


def test_more_and_larger_values_than_there_is_room_for_fail_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.engine._blobs._room_bytes = 1
    other = b'{"title": "peace"}'
    desk.submit(task("a"), task("b", "a", params={"m": "${a.one.title} and ${a.two.title}"}))
    desk.complete("a", {"one": reference(TEXT), "two": reference(other)})
    for _ in range(20):
        answer(desk, TEXT, other)
    assert desk.states()["b"] == "failed"


def test_a_call_that_never_arrived_is_sent_again_with_what_it_needs() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"m": "${a.result.title}"}))
    desk.complete("a", {"result": reference(TEXT)})
    answer(desk, TEXT)
    again = desk.restart()
    again.provider("p#1")
    call = again.call("b")
    again.tell(inp.CallUnknown(call, "p#1"))
    assert loads(again) == [name(TEXT)]
    answer(again, TEXT)
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
    assert set(loads(desk)) == {name(TEXT)}
    assert desk.sent() == []
    answer(desk, TEXT)
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
    answer(desk, TEXT)
    assert desk.states()["a"] == "completed"
    assert any(isinstance(effect, fx.AckCall) for effect in desk.last.effects)


def test_what_is_not_there_is_told_in_words_and_what_is_large_remains_a_blob() -> None:
    desk = Desk()
    part = ["x" * 8] * 50_000
    content = msgspec.json.encode({"list": part, "few": 1})
    desk.submit(
        task("a"),
        task("b", "a", params={"m": "${a.list}"}),
        task("c", "a", params={"m": "${a.lost}"}),
        task("d", "a", params={"m": "${a}"}),
    )
    desk.complete("a", reference(content))
    answer(desk, content)
    assert msgspec.json.decode(desk.engine.params_of(desk.call("b")))["m"] == reference(msgspec.json.encode(part))
    assert msgspec.json.decode(desk.engine.params_of(desk.call("d")))["m"] == reference(content)
    error = desk.workflow().tasks["c"].error
    assert error is not None
    assert "there is no 'lost' (there are: list, few)" in error.message
