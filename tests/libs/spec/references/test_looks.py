"""A look into a value as JSON finds what the decoded value has there, and reads no more than it must."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gleitzeit.errors import ParameterError, ResourceExhausted
from gleitzeit.model.blobs import Look
from gleitzeit.spec.references import looks
from gleitzeit.spec.references.paths import Missing, Unread, look_up, walk

KEYS = st.sampled_from(["result", "response", "text", "a", "0", "1"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(VALUES, st.lists(KEYS, max_size=4).map(tuple), st.booleans())
def test_a_look_finds_what_the_decoded_value_has(value: object, path: tuple[str, ...], as_result: bool) -> None:
    content = msgspec.json.format(msgspec.json.encode(value), indent=2)
    found = looks.inside(Unread(Raw(content)), Look("n", path=path, as_result=as_result))
    meant = look_up(value, path) if as_result else walk(value, path)
    if isinstance(meant, Missing):
        assert isinstance(found, Missing)
        assert found.words
    else:
        assert isinstance(found, bytes)
        assert msgspec.json.decode(found) == meant


def test_a_file_has_no_inside_and_garbage_is_told() -> None:
    found = looks.inside(Unread(Raw(b"caf")), Look("n", "text", ("x",)))
    assert isinstance(found, Missing)
    assert found.words == "there is no 'x' (it is a text)"
    with pytest.raises(ParameterError, match="cannot be read"):
        looks.inside(Unread(Raw(b"{")), Look("n", path=("x",)))
    with pytest.raises(ParameterError, match="cannot be read"):
        looks.whole(b"{", Look("n"))


def test_what_is_made_of_too_many_values_is_not_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "MOST_VALUES", 10)
    assert looks.whole(b'["a, b, c, d, e, f, g, h, i, j, \\" k, l"]', Look("n")) == [
        'a, b, c, d, e, f, g, h, i, j, " k, l'
    ]
    with pytest.raises(ResourceExhausted, match="more than 10 values"):
        looks.whole(msgspec.json.encode(list(range(20))), Look("n"))
    assert looks.whole(b",{[" * 20, Look("n", "text")) == ",{[" * 20
