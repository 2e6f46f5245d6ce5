from collections.abc import Sequence

from gz_cli.drawing.layout import MAX_INDENT, Item, Node, label, layout, walk


def node(name: str, *dependencies: str, method: str = "echo/echo") -> Node:
    return Node(name, method, dependencies)


def drawn(roots: Sequence[Item]) -> list[str]:
    return [
        before + label(item.members) + (f"  after {', '.join(item.after)}" if item.after else "")
        for before, item in walk(roots)
    ]


DIAMOND = [
    node("numbers"),
    node("total", "numbers"),
    node("squares", "numbers"),
    node("difference", "total", "squares"),
]


def test_a_join_hangs_below_what_all_its_dependencies_come_from() -> None:
    assert drawn(layout(DIAMOND, collapse_above=10)) == [
        "numbers",
        "├─ total",
        "├─ squares",
        "└─ difference  after total, squares",
    ]


def test_a_join_of_independent_tasks_is_a_root() -> None:
    assert drawn(layout([node("c", "a", "b"), node("a"), node("b")], collapse_above=10)) == [
        "a",
        "b",
        "c  after a, b",
    ]


def test_alike_tasks_become_one_item_and_their_join_its_child() -> None:
    slices = [node(f"s{i}", "find") for i in range(7)]
    nodes = [node("find"), *slices, node("join", *(one.id for one in slices)), node("report", "join", "find")]
    assert drawn(layout(nodes, collapse_above=6)) == [
        "find",
        "├─ s0 … s6",
        "│  └─ join",
        "└─ report  after join, find",
    ]


def test_tasks_of_other_methods_or_with_other_dependents_stay_apart() -> None:
    nodes = [
        node("a"),
        *(node(f"x{i}", "a") for i in range(3)),
        node("y", "a", method="python/execute"),
        node("z", "x0"),
    ]
    items = layout(nodes, collapse_above=1)
    assert [item.members for _, item in walk(items)] == [("a",), ("x0",), ("z",), ("x1", "x2"), ("y",)]


def test_a_long_chain_stays_on_the_screen() -> None:
    chain = [node("t0"), *(node(f"t{i}", f"t{i - 1}") for i in range(1, 2000))]
    lines = drawn(layout(chain, collapse_above=6))
    assert len(lines) == 2000
    assert max(len(line) for line in lines) <= 3 * (MAX_INDENT + 1) + len("t1999")


def test_every_task_is_drawn_once() -> None:
    nodes = [node("a"), node("b"), node("c", "a", "b"), node("d", "c"), node("e", "a", "d"), node("f", "b")]
    members = [name for _, item in walk(layout(nodes, collapse_above=1)) for name in item.members]
    assert sorted(members) == ["a", "b", "c", "d", "e", "f"]
