"""Turns against the plainest thing that could be one: a list that is sorted each time."""

from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.engine.scheduling.turns import Turns


@given(st.lists(st.tuples(st.sampled_from(["put", "pop", "next"]), st.integers(0, 6)), max_size=60))
def test_the_highest_rank_comes_first_and_of_one_rank_what_came_first(course: list[tuple[str, int]]) -> None:
    turns, plain = Turns[int, int](), list[int]()
    for what, key in course:
        if what == "put":
            turns.put(key, -key, rank=key % 3)
            plain += [key] if key not in plain else []
        elif what == "pop":
            assert turns.pop(key) == (-key if key in plain else None)
            plain = [one for one in plain if one != key]
        elif (first := turns.first()) is not None:
            turns.pop(-first)
            plain.remove(-first)
        order = sorted(plain, key=lambda one: -(one % 3))
        assert [-one for one in turns] == order
        assert turns.first() == (-order[0] if order else None)
        assert (len(turns), key in turns, turns.get(key) is not None) == (len(plain), key in plain, key in plain)
        assert [turns.ahead(rank) for rank in range(4)] == [sum(k % 3 >= rank for k in plain) for rank in range(4)]
