"""The files that ship, as they are found in a checkout."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest

from gleitzeit import spec
from gleitzeit.schemas import builtin, definition_schema, is_task_method, load_methods, verify
from gleitzeit.spec.check import WORKFLOW_KEYS, check
from gleitzeit.spec.tasks.tasks import TASK_KEYS

OWN = frozenset(
    """
    workflow.submit workflow.validate workflow.get workflow.result workflow.list workflow.watch workflow.unwatch
    workflow.cancel workflow.pause workflow.resume workflow.hold workflow.retry workflow.history workflow.explain
    workflow.signal task.get task.retry provider.list provider.get provider.register provider.drain protocol.list
    protocol.get system.status
    template.put template.get template.list template.delete template.run task.complete
    schedule.put schedule.get schedule.list schedule.delete schedule.pause schedule.resume schedule.trigger
    schedule.backfill batch.list batch.get batch.resume workflow.rerun workflow.diff
    """.split()  # noqa: SIM905  # one a line would fill a screen
)


IN_THE_COORDINATOR = ("timer/v1", "signal/v1", "approval/v1", "workflow/v1")


def test_the_coordinators_methods_are_described() -> None:
    assert {method.name for method in builtin().coordinator_methods()} >= OWN


def test_the_protocols_of_tasks_are_described() -> None:
    assert {"echo/v1", "python/v1", "timer/v1", "signal/v1"} <= set(builtin().protocols())


@pytest.mark.parametrize("method", builtin().methods.values(), ids=lambda method: method.name)
def test_every_schema_is_sound(method) -> None:  # type: ignore[no-untyped-def]
    verify(method)
    assert method.description
    assert method.params["additionalProperties"] is False, "wrong params must be found"
    assert method.runs == ("coordinator" if method.protocol in IN_THE_COORDINATOR else "provider") or (
        not is_task_method(method.name)
    )


def test_a_file_is_named_for_its_method() -> None:
    folder = Path(__file__).parents[3] / "schemas"
    for method in load_methods(folder):
        protocol, name = method.name.replace(".", "/").split("/", 1)
        assert (folder / protocol / "v1" / f"{name.replace('/', '.')}.json").is_file()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "x" / "v1" / "bad.json"
    bad.parent.mkdir(parents=True)
    bad.write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json"):
        load_methods(tmp_path)


def test_sleeping_and_waiting_need_no_provider() -> None:
    sleep, wait = builtin().get("timer/sleep"), builtin().get("signal/wait")
    assert sleep is not None
    assert wait is not None
    assert sleep.check_params({"seconds": 1}) == sleep.check_params({"duration": "5m"}) == []
    assert wait.check_params({"signal_name": "go"}) == wait.check_params({"name": "go", "timeout": "5m"}) == []
    assert [p.message for p in sleep.check_params({})] == ["needs 'seconds' or 'duration'"]
    assert [p.message for p in wait.check_params({"name": "a", "signal_name": "b"})] == [
        "give only one of 'signal_name' and 'name'"
    ]


@pytest.mark.parametrize(
    ("method", "reference", "suggestion"),
    [
        ("echo/ping", "${a.respons}", "response"),
        ("echo/timestamp", "${a.unix}", "unix_ms"),
        ("echo/ping", "${a.text} ${a.result} ${a} ${a.status} ${a.message}", None),
        ("python/eval", "${a.anything.at[0].all} ${a.result} ${a.execution_time}", None),
    ],
)
def test_a_mistyped_key_of_a_result_is_found_at_submit(method: str, reference: str, suggestion: str | None) -> None:
    params = {"expression": "1"} if method == "python/eval" else {}
    reader = {"id": "b", "method": "echo/echo", "params": {"message": reference}}
    document = {"name": "n", "tasks": [{"id": "a", "method": method, "params": params}, reader]}
    expected = [] if suggestion is None else [suggestion]
    assert [problem.suggestion for problem in check(document, builtin()).problems] == expected


@pytest.mark.parametrize("protocol", ["echo/v1", "python/v1", "timer/v1", "signal/v1", "approval/v1"])
def test_a_reference_to_what_no_result_has_can_be_found_at_submit(protocol: str) -> None:
    for name in builtin().names(protocol):
        method = builtin().get(name)
        assert method is not None
        assert method.result is not None
        assert method.result.get("additionalProperties") is False or method.result.get("not") == {}, name


EDITOR = jsonschema_rs.Draft7Validator(definition_schema(), offline=True)


def test_the_editors_schema_has_the_keys_of_the_document() -> None:
    definitions = definition_schema()["definitions"]
    assert set(definitions["workflow"]["properties"]) == WORKFLOW_KEYS | {"output"}, "and what only old documents have"
    assert set(definitions["task"]["properties"]) == TASK_KEYS | {"task_type"}


def test_every_key_explains_itself_to_the_editor() -> None:
    for part in ("workflow", "task"):
        for key, schema in definition_schema()["definitions"][part]["properties"].items():
            assert schema.get("description"), key


@pytest.mark.parametrize(
    "document",
    [
        {"name": "n", "tasks": [{"method": "echo/echo"}]},
        {"workflow": {"name": "n", "tasks": {"a": {"type": "python", "code": "1"}}}},
        {"name": "n", "x-defaults": 1, "tasks": [{"id": "a", "method": "echo", "retry": 3, "priority": 4}]},
        {"name": "n", "tasks": [{"method": "a/b", "retry": {"delay": "2s"}, "depends_on": "x", "timeout": "5m"}]},
    ],
)
def test_good_documents_please_the_editor(document: object) -> None:
    assert EDITOR.is_valid(document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"name": "n"},
        {"name": "n", "tasks": []},
        {"name": "n", "tasks": [{"methd": "x"}]},
        {"name": "n", "tasks": [{}], "tsks": 1},
        {"name": "n", "tasks": [{"retry": {"max_attemps": 1}}]},
    ],
)
def test_bad_documents_do_not(document: object) -> None:
    assert not EDITOR.is_valid(document)


def closed_maps(schema: object) -> Iterator[frozenset[str]]:
    """The keys of every map in the editor's schema that allows no others."""
    if isinstance(schema, list):
        for one in schema:
            yield from closed_maps(one)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and schema.get("additionalProperties") is False:
            yield frozenset(schema["properties"])
        for value in schema.values():
            yield from closed_maps(value)


def keys_of_spec() -> Iterator[tuple[str, frozenset[str]]]:
    """Every set of keys by which the check knows a map of a document."""
    for module in pkgutil.walk_packages(spec.__path__, "gleitzeit.spec."):
        subject = module.name.rpartition(".")[2]
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.endswith("KEYS") and isinstance(value, frozenset) and subject not in ("legacy", "environment"):
                yield f"{subject}.{name}", value


PARTS_OF_A_TASK = {"flow.FLOW_KEYS", "tasks.FLOW_KEYS", "inner_tasks.METHOD_KEYS"}


@pytest.mark.parametrize(
    ("name", "keys"), sorted(keys_of_spec()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_editor_knows_the_keys_of_every_map(name: str, keys: frozenset[str]) -> None:
    known = set(closed_maps(definition_schema()))
    if name in PARTS_OF_A_TASK:
        assert keys <= TASK_KEYS
    elif name in ("check.WORKFLOW_KEYS", "tasks.TASK_KEYS"):
        assert any(keys <= one for one in known)
    else:
        assert keys in known, f"definition.json has no map with exactly {sorted(keys)}"
