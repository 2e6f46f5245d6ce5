"""Names in parts stand in the order that they would have in one list."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.journal import names
from gleitzeit.journal.names import Names

NAME = st.text("ab~", max_size=4)


@given(st.lists(NAME), NAME, NAME | st.none())
def test_what_begins_with_it(moves: list[str], prefix: str, after: str | None) -> None:
    """A name is added where it is not there, and taken away where it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "MOST_IN_A_PART", 3)
        found, there = Names(), set[str]()
        for name in moves:
            (found.remove if name in there else found.add)(name)
            there ^= {name}
        expected = sorted(n for n in there if n.startswith(prefix) and (after is None or n > after))
        assert list(found.beginning(prefix, after)) == expected


def test_no_part_is_large() -> None:
    found = Names()
    for first in string.ascii_letters:
        for number in range(100):
            found.add(f"{first}{number}")
    assert max(map(len, found._parts)) <= names.MOST_IN_A_PART
    assert len(list(found.beginning(""))) == 5_200
