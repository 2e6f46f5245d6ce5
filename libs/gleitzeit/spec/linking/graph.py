"""Who waits for whom: cycles in it. Iterative throughout: a chain of 100,000 tasks is nothing special."""

from collections.abc import Mapping, Sequence

_LIMIT_CYCLES = 20


def find_cycles(dependencies: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Cycles that share no task, each as `[a, b, …]`: a waits for b, b for the next, the last for a. At most twenty.

    Every dependency must itself be a key. No cycle is found if and only if the tasks can be put in an order.
    """
    if not any(dependencies.values()):
        return []
    left = _tangled(dependencies)
    cycles: list[list[str]] = []
    while left and len(cycles) < _LIMIT_CYCLES:
        cycle = _cycle_from(next(iter(left)), left)
        cycles.append(cycle)
        gone = set(cycle)
        left = _tangled(
            {task: [one for one in needs if one not in gone] for task, needs in left.items() if task not in gone}
        )
    return cycles


def _tangled(dependencies: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The tasks that never become free, each with those of its dependencies that do not either (at least one)."""
    waits = {task: len(needs) for task, needs in dependencies.items()}
    dependents: dict[str, list[str]] = {task: [] for task in dependencies}
    for task, needs in dependencies.items():
        for need in needs:
            dependents[need].append(task)
    free = [task for task, count in waits.items() if count == 0]
    while free:
        for task in dependents[free.pop()]:
            waits[task] -= 1
            if waits[task] == 0:
                free.append(task)
    stuck = {task for task, count in waits.items() if count > 0}
    return {task: [need for need in needs if need in stuck] for task, needs in dependencies.items() if task in stuck}


def _cycle_from(start: str, dependencies: Mapping[str, Sequence[str]]) -> list[str]:
    """Following any dependency of tangled tasks comes round at last."""
    order: dict[str, int] = {}
    task = start
    while task not in order:
        order[task] = len(order)
        task = dependencies[task][0]
    return list(order)[order[task] :]
