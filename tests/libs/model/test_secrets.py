"""Secrets are taken out of params before these are encoded, and put in where they were, and nowhere else."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.model.secrets import Hidden, Place, Secret, names_in, put_in, taken_out

texts = st.text(max_size=5) | st.just("${secrets.A}")
hidden = st.lists(texts | st.sampled_from("AB").map(Secret), min_size=1, max_size=4).map(lambda p: Hidden(tuple(p)))
values = st.recursive(
    hidden | texts | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def told(value: Any, known: dict[str, str]) -> Any:
    """What the provider is to see."""
    if isinstance(value, Hidden):
        return "".join(part if isinstance(part, str) else known[part.name] for part in value.parts)
    if isinstance(value, dict):
        return {key: told(inner, known) for key, inner in value.items()}
    return [told(inner, known) for inner in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=3), values, max_size=4))
def test_what_is_taken_out_comes_back_in_its_place(params: dict[str, Any]) -> None:
    known = {"A": "${secrets.B}", "B": "bee"}
    shown, places = taken_out(params)
    sent = msgspec.json.decode(msgspec.json.encode(shown))
    put_in(sent, msgspec.json.decode(msgspec.json.encode(places), type=list[Place]), known)
    assert sent == told(params, known)
    assert set(names_in(places)) <= known.keys()


def test_it_is_shown_as_it_is_written() -> None:
    assert taken_out({"a": Hidden(("Bearer ", Secret("KEY")))})[0] == {"a": "Bearer ${secrets.KEY}"}


@pytest.mark.parametrize("path", [("b",), ("a", 3), ("a", "b"), ("n",)])
def test_a_place_that_is_not_there_is_refused(path: tuple[str | int, ...]) -> None:
    with pytest.raises((LookupError, TypeError)):
        put_in({"a": ["x"], "n": 1}, [Place(path, ("x",))], {})
