from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.spec.linking.graph import find_cycles


def test_what_has_an_order_has_no_cycle() -> None:
    assert find_cycles({}) == []
    assert find_cycles({"a": [], "b": ["a"], "c": ["a", "b"], "d": ["b", "c"]}) == []


def test_a_cycle_is_found_whole() -> None:
    [cycle] = find_cycles({"start": [], "a": ["start", "c"], "b": ["a"], "c": ["b"], "end": ["c"]})
    assert sorted(cycle) == ["a", "b", "c"]


def test_a_task_that_waits_for_itself() -> None:
    assert find_cycles({"a": ["a"], "b": ["a"]}) == [["a"]]


def test_each_of_several_cycles_is_found() -> None:
    cycles = find_cycles({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"], "e": ["a", "c"]})
    assert sorted(sorted(cycle) for cycle in cycles) == [["a", "b"], ["c", "d"]]


def test_very_many_cycles_are_not_all_listed() -> None:
    assert len(find_cycles({str(n): [str(n)] for n in range(1000)})) == 20


def test_a_long_chain_is_nothing_special() -> None:
    chain = {n: [n - 1] if n else [] for n in range(100_000)}
    named = {str(task): [str(need) for need in needs] for task, needs in chain.items()}
    assert find_cycles(named) == []
    [cycle] = find_cycles({**named, "0": ["99999"]})
    assert len(cycle) == 100_000


@given(st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=4), max_size=10))
def test_cycles_are_cycles_and_are_found_if_there_are_any(drawn: dict[int, list[int]]) -> None:
    graph = {str(task): [str(need) for need in needs if need in drawn] for task, needs in drawn.items()}
    cycles = find_cycles(graph)
    for cycle in cycles:
        for task, need in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert need in graph[task]
    assert bool(cycles) == (not _has_order(graph))


def _has_order(graph: dict[str, list[str]]) -> bool:
    done: set[str] = set()
    while more := {task for task, needs in graph.items() if task not in done and done.issuperset(needs)}:
        done |= more
    return len(done) == len(graph)
