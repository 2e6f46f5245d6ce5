"""A graph of tasks as a tree that can be drawn: large fan-outs as one item, joins below what they all come from.

A task hangs below its *dominator*, the nearest task that everything it waits for goes through. In a diamond the join
is drawn beside the two tasks that it waits for, under the one that started both; `after` names what it waits for.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

MAX_INDENT = 12
"""Levels below are drawn without further indentation: a chain of 200 tasks must not walk out of the terminal."""
NAMES_SHOWN = 3
"""Of many tasks."""


class Node(Struct, frozen=True):
    id: str
    method: str
    dependencies: tuple[str, ...]


class Item(Struct):
    """One line of the tree: a task, or several tasks of the same kind."""

    members: tuple[str, ...]
    after: tuple[str, ...] = ()
    """What it waits for, where the line above does not already say so."""
    children: list["Item"] = []


def layout(nodes: Sequence[Node], *, collapse_above: int) -> list[Item]:
    """The roots of the tree, in the order of the document.

    More than `collapse_above` tasks with the same method, dependencies and dependents become one item. The graph must
    have no cycle and no unknown dependency.
    """
    groups = _groups(nodes, collapse_above)
    group_of = {node.id: index for index, group in enumerate(groups) for node in group}
    waits_for = [_unique(group_of[name] for name in group[0].dependencies) for group in groups]
    parents = _dominators(waits_for)
    items = [Item(members=tuple(node.id for node in group), children=[]) for group in groups]
    roots: list[Item] = []
    for index, item in enumerate(items):
        parent = parents[index]
        if waits_for[index] not in ([], [parent]):
            item.after = tuple(name for group in waits_for[index] for name in items[group].members)
        (roots if parent is None else items[parent].children).append(item)
    return roots


def walk(roots: Sequence[Item]) -> Iterator[tuple[str, Item]]:
    """Every item with the branches to draw before it, from top to bottom."""
    todo = [("", "", item, 0) for item in reversed(roots)]
    while todo:
        before, branch, item, depth = todo.pop()
        yield before + branch, item
        inner = before + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch] if depth < MAX_INDENT else before
        last = len(item.children) - 1
        todo += [
            (inner, "└─ " if index == last else "├─ ", child, depth + 1)
            for index, child in reversed(list(enumerate(item.children)))
        ]


def label(members: Sequence[str]) -> str:
    """What an item is called: its task, or the first and the last of many."""
    return members[0] if len(members) == 1 else f"{members[0]} … {members[-1]}"


def after_words(after: Sequence[str]) -> str:
    """`  after a, b`, or how many where they are many."""
    return "  after " + (", ".join(after) if len(after) <= NAMES_SHOWN else f"{len(after):,} tasks")


def last(nodes: Sequence[Node]) -> list[str]:
    """The tasks that no other waits for."""
    waited_for = {name for node in nodes for name in node.dependencies}
    return [node.id for node in nodes if node.id not in waited_for]


def _groups(nodes: Sequence[Node], collapse_above: int) -> list[list[Node]]:
    """The items' tasks; items in an order in which every dependency stands before its dependents."""
    dependents: defaultdict[str, list[str]] = defaultdict(list)
    for node in nodes:
        for name in node.dependencies:
            dependents[name].append(node.id)
    alike: defaultdict[object, list[Node]] = defaultdict(list)
    for node in nodes:
        alike[node.method, frozenset(node.dependencies), tuple(dependents[node.id])].append(node)
    together = {group[0].id: group for group in alike.values() if len(group) > collapse_above}
    hidden = {node.id for group in together.values() for node in group[1:]}
    in_order = _topological({node.id: node for node in nodes}, dependents)
    return [together.get(node.id, [node]) for node in in_order if node.id not in hidden]


def _topological(nodes: Mapping[str, Node], dependents: Mapping[str, Sequence[str]]) -> list[Node]:
    missing = {name: len(set(node.dependencies)) for name, node in nodes.items()}
    ready = [name for name, number in missing.items() if number == 0]
    for name in ready:  # grows while it is read
        for dependent in dict.fromkeys(dependents.get(name, ())):
            missing[dependent] -= 1
            if missing[dependent] == 0:
                ready.append(dependent)
    return [nodes[name] for name in ready]


def _dominators(waits_for: Sequence[Sequence[int]]) -> list[int | None]:
    """For each item the nearest one that all its dependencies go through; None for what hangs on nothing."""
    parents: list[int | None] = []
    depths: list[int] = []
    for dependencies in waits_for:
        parent: int | None = dependencies[0] if dependencies else None
        for other in dependencies[1:]:
            parent = _common(parent, other, parents, depths)
        parents.append(parent)
        depths.append(0 if parent is None else depths[parent] + 1)
    return parents


def _common(one: int | None, other: int | None, parents: Sequence[int | None], depths: Sequence[int]) -> int | None:
    while one != other:
        if one is None or other is None:
            return None
        if depths[one] >= depths[other]:
            one = parents[one]
        else:
            other = parents[other]
    return one


def _unique(numbers: Iterator[int]) -> list[int]:
    return list(dict.fromkeys(numbers))
