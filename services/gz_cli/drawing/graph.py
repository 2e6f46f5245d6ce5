"""A definition as a drawing: a tree in text, Mermaid, Graphviz, or SVG."""

from collections.abc import Sequence

import msgspec

from gleitzeit.model.definition import Definition, TaskDefinition
from gz_cli.drawing import picture
from gz_cli.drawing.layout import Item, Node, after_words, label, layout, walk
from gz_cli.formats import GraphFormat
from gz_cli.terminal.durations import counted
from gz_cli.terminal.ink import clean

COLLAPSE_ABOVE = 24


def draw(definition: Definition, form: GraphFormat) -> str:
    """Every task and what it waits for. The tree puts more than 24 tasks of one kind into one line."""
    if form is GraphFormat.MERMAID:
        return _mermaid(definition)
    if form is GraphFormat.DOT:
        return _dot(definition)
    if form is GraphFormat.SVG:
        return picture.draw(definition.name, [_box(task) for task in definition.tasks])
    return _tree(definition)


def nodes(tasks: Sequence[TaskDefinition]) -> list[Node]:
    return [Node(task.id, task.method, task.dependencies) for task in tasks]


def _tree(definition: Definition) -> str:
    tasks = {task.id: task for task in definition.tasks}
    roots = layout(nodes(definition.tasks), collapse_above=COLLAPSE_ABOVE)
    lines = [before + _words(item, tasks[item.members[0]]) for before, item in walk(roots)]
    return "\n".join([clean(definition.name), *lines])


def _words(item: Item, task: TaskDefinition) -> str:
    many = f" ({len(item.members):,})" if len(item.members) > 1 else ""
    special = "".join(f"  · {mark}" for mark in marks(task))
    return clean(f"{label(item.members)}{many}  {task.method}{after_words(item.after) if item.after else ''}{special}")


def _box(task: TaskDefinition) -> picture.Box:
    return picture.Box(
        task.id,
        (task.id, task.method, *marks(task)),
        task.dependencies,
        shape=shape(task),
        dashed=_is_uncertain(task),
        dashed_needs=frozenset(task.dependencies if task.trigger != "success" else ()),
    )


def shape(task: TaskDefinition) -> picture.Shape:
    if task.for_each is not None:
        return "many"
    if task.switch is not None:
        return "choice"
    return "nested" if task.workflow is not None else "box"


def _is_uncertain(task: TaskDefinition) -> bool:
    """Whether it may well not run though nothing goes wrong."""
    return bool(task.when) or task.trigger == "failure"


def marks(task: TaskDefinition) -> list[str]:
    """What is special about it, in few words."""
    found = []
    if task.for_each is not None:
        over = msgspec.json.decode(task.for_each.over)
        if task.for_each.matrix:
            found.append(f"for each of {' × '.join(over.get('axes', {}))}")
        else:
            many = over if isinstance(over, str) else counted(len(over), "item")
            found.append(f"for each of {many}")
    if task.when:
        found.append(f"if {task.when}")
    if task.switch is not None:
        cases = [case.value or case.when for case in task.switch.cases]
        found.append(f"by {task.switch.value or 'condition'}: {', '.join(cases)}")
    if task.until is not None:
        found.append(f"until {task.until.condition}")
    if task.workflow is not None:
        found.append(f"runs {task.workflow.name} ({counted(len(task.workflow.tasks))})")
    if task.trigger != "success":
        found.append("always" if task.trigger == "always" else "on failure")
    if task.undo is not None:
        found.append(f"undone by {task.undo.method}")
    return found


def _mermaid(definition: Definition) -> str:
    numbers = {task.id: f"t{index}" for index, task in enumerate(definition.tasks)}
    boxes = [_MERMAID_SHAPES[shape(task)] % (numbers[task.id], _mermaid_words(task)) for task in definition.tasks]
    arrows = [
        f"    {numbers[name]} {'-->' if task.trigger == 'success' else '-.->'} {numbers[task.id]}"
        for task in definition.tasks
        for name in task.dependencies
    ]
    return "\n".join(["flowchart TD", *boxes, *arrows])


_MERMAID_SHAPES: dict[picture.Shape, str] = {
    "box": '    %s["%s"]',
    "many": '    %s@{ shape: procs, label: "%s" }',
    "choice": '    %s{"%s"}',
    "nested": '    %s[["%s"]]',
}


def _mermaid_words(task: TaskDefinition) -> str:
    special = "".join(f"<br/><small>{_mermaid_text(mark)}</small>" for mark in marks(task))
    return f"{_mermaid_text(task.id)}<br/><i>{_mermaid_text(task.method)}</i>{special}"


def _mermaid_text(text: str) -> str:
    for character, entity in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return clean(text)


def _dot(definition: Definition) -> str:
    boxes = [f'  "{_dot_text(task.id)}" [label="{_dot_words(task)}"{_dot_shape(task)}];' for task in definition.tasks]
    arrows = [
        f'  "{_dot_text(name)}" -> "{_dot_text(task.id)}"{" [style=dashed]" if task.trigger != "success" else ""};'
        for task in definition.tasks
        for name in task.dependencies
    ]
    return "\n".join([f'digraph "{_dot_text(definition.name)}" {{', "  node [shape=box];", *boxes, *arrows, "}"])


def _dot_words(task: TaskDefinition) -> str:
    return "\\n".join(_dot_text(line) for line in (task.id, task.method, *marks(task)))


def _dot_shape(task: TaskDefinition) -> str:
    special = {"box": "", "many": ", shape=box3d", "choice": ", shape=diamond", "nested": ", peripheries=2"}[
        shape(task)
    ]
    return special + (", style=dashed" if _is_uncertain(task) else "")


def _dot_text(text: str) -> str:
    return clean(text).replace("\\", "\\\\").replace('"', '\\"')
