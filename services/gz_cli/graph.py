"""A definition as a drawing: a tree in text, Mermaid, Graphviz, or SVG."""

from collections.abc import Sequence

from gleitzeit.model.definition import Definition, TaskDefinition
from gz_cli import picture
from gz_cli.formats import GraphFormat
from gz_cli.ink import clean
from gz_cli.layout import Item, Node, label, layout, walk
from gz_cli.tree import after_words

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
    lines = [before + _words(item, tasks[item.members[0]].method) for before, item in walk(roots)]
    return "\n".join([clean(definition.name), *lines])


def _words(item: Item, method: str) -> str:
    many = f" ({len(item.members):,})" if len(item.members) > 1 else ""
    return clean(f"{label(item.members)}{many}  {method}{after_words(item.after) if item.after else ''}")


def _box(task: TaskDefinition) -> picture.Box:
    nested = task.workflow is not None
    return picture.Box(
        task.id, (task.id, task.method, *marks(task)), task.dependencies, shape="nested" if nested else "box"
    )


def marks(task: TaskDefinition) -> list[str]:
    """What is special about it, in few words."""
    found = []
    if task.workflow is not None:
        found.append(f"runs {task.workflow.name} ({len(task.workflow.tasks)})")
    return found


def _mermaid(definition: Definition) -> str:
    numbers = {task.id: f"t{index}" for index, task in enumerate(definition.tasks)}
    boxes = [f'    {numbers[task.id]}["{_mermaid_words(task)}"]' for task in definition.tasks]
    arrows = [f"    {numbers[name]} --> {numbers[task.id]}" for task in definition.tasks for name in task.dependencies]
    return "\n".join(["flowchart TD", *boxes, *arrows])


def _mermaid_words(task: TaskDefinition) -> str:
    return f"{_mermaid_text(task.id)}<br/><i>{_mermaid_text(task.method)}</i>"


def _mermaid_text(text: str) -> str:
    for character, entity in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return clean(text)


def _dot(definition: Definition) -> str:
    boxes = [f'  "{_dot_text(task.id)}" [label="{_dot_words(task)}"];' for task in definition.tasks]
    arrows = [
        f'  "{_dot_text(name)}" -> "{_dot_text(task.id)}";' for task in definition.tasks for name in task.dependencies
    ]
    return "\n".join([f'digraph "{_dot_text(definition.name)}" {{', "  node [shape=box];", *boxes, *arrows, "}"])


def _dot_words(task: TaskDefinition) -> str:
    return f"{_dot_text(task.id)}\\n{_dot_text(task.method)}"


def _dot_text(text: str) -> str:
    return clean(text).replace("\\", "\\\\").replace('"', '\\"')
