"""The conditions in the params of validation/* tasks: CEL whose references are bound to values, and gates for tasks.

A condition travels in its normal form, escaped, so that it is no text to be filled in; `bindings` has what each of its
references to tasks, inputs and the like stands for. Other names are those of the task's `context`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from gleitzeit.spec.problems import Path
from gleitzeit.spec.references import expressions
from gleitzeit.spec.references.expressions import Unreadable
from gleitzeit.spec.references.references import Reference, escape

PROTOCOL: Final = "validation/"
_LISTS: Final = ("conditions", "assertions", "rules")
_TEXTS: Final = ("expression", "condition", "assertion")

Complain = Callable[[Path, str], None]


def bind(
    params: Mapping[str, Any], is_known: Callable[[Reference], bool], odd: Collection[str], complain: Complain
) -> dict[str, Any]:
    """The params as they travel. `complain` gets the steps below the params, and what is wrong there."""
    bindings: dict[str, str] = {}

    def bound(text: str, steps: Path) -> str:
        try:
            for reference in expressions.read(text, odd):
                if is_known(reference):
                    bindings[reference.text] = f"${{{reference.text}}}"
            return escape(expressions.normal(text, odd))
        except Unreadable as error:
            complain(steps, error.message)
            return text

    made = dict(params)
    for key in _LISTS:
        if isinstance(listed := params.get(key), list):
            made[key] = [_bound(one, (key, index), bound) for index, one in enumerate(listed)]
    return {**made, "bindings": bindings} if bindings else made


def _bound(one: Any, steps: Path, bound: Callable[[str, Path], str]) -> Any:
    if isinstance(one, str):
        return bound(one, steps)
    if not isinstance(one, dict):
        return one
    return {
        key: bound(text, (*steps, key)) if key in _TEXTS and isinstance(text, str) else text
        for key, text in one.items()
    }


def with_gates(tasks: Any) -> Any:
    """The tasks of a document, those that a `validation/gate` names under the condition that it lets them through."""
    listed = tasks.items() if isinstance(tasks, dict) else enumerate(tasks) if isinstance(tasks, list) else ()
    gates: dict[str, list[str]] = {}
    for place, task in listed:
        if isinstance(task, dict) and _is_gate(task):
            name = str(task.get("id") or task.get("name") or place)
            for target in _targets(task):
                gates.setdefault(target, []).append(f'${{{name}.allowed["{target}"]}}')
    if not gates:
        return tasks
    if isinstance(tasks, dict):
        return {key: _under(task, gates, str(key)) for key, task in tasks.items()}
    return [_under(task, gates, "") for task in tasks]


def _is_gate(task: Mapping[str, Any]) -> bool:
    return task.get("method") in ("validation/gate", "gate") and (
        "/" in str(task["method"]) or str(task.get("protocol", task.get("type", ""))).startswith("validation")
    )


def _targets(task: Mapping[str, Any]) -> list[str]:
    params = {**_map(task.get("parameters")), **_map(task.get("params"))}
    return list(dict.fromkeys(target for _, target in gated(params) if '"' not in target))


def gated(params: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """The tasks that the rules of a gate name, each with the steps to its name."""
    for number, rule in enumerate(_listed(params.get("rules"))):
        for key in ("enable_tasks", "disable_tasks"):
            for index, target in enumerate(_listed(_map(rule).get(key))):
                if isinstance(target, str):
                    yield ("rules", number, key, index), target


def _under(task: Any, gates: Mapping[str, list[str]], key: str) -> Any:
    if not isinstance(task, dict):
        return task
    names = (key, str(task.get("id") or ""), str(task.get("name") or ""))
    more = [text for name in dict.fromkeys(names) if name for text in gates.get(name, ())]
    if not more:
        return task
    own = [task[word] for word in ("when", "condition") if word in task] + _listed(task.get("conditions"))
    return {word: value for word, value in task.items() if word not in ("when", "condition")} | {
        "conditions": [*own, *more]
    }


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
