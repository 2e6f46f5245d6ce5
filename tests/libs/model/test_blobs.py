"""What is large in a value becomes blobs, and with these it is the same value again."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.model.blobs import (
    KEY,
    is_blob,
    name_of,
    names_in,
    reference,
    references_in,
    replaced,
    split,
    value_of,
)

TEXTS = st.text(max_size=5) | st.integers(9_000, 40_000).map(lambda n: "é" * n)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=12,
)


def whole(value: Any, blobs: dict[str, bytes]) -> Any:
    return replaced(value, lambda blob: value_of(blob, blobs[blob[KEY]]))


@given(VALUES, st.integers(100, 60_000))
def test_a_value_that_was_split_is_the_same_value(value: Any, limit_bytes: int) -> None:
    encoded = msgspec.json.encode(value)
    small, blobs = split(encoded, limit_bytes)
    assert len(small) <= max(limit_bytes, 120)
    assert whole(msgspec.json.decode(small), blobs) == value
    assert {blob[KEY] for blob in references_in(msgspec.json.decode(small))} == set(blobs) == set(names_in(small))
    for name, content in blobs.items():
        assert name == name_of(content)
        assert not list(references_in(msgspec.json.decode(content)))


def test_small_parts_of_a_result_stay_where_they_are() -> None:
    result = {"result": {"text": "x" * 500_000, "n": 3}, "output": "", "content": "x" * 500_000}
    small, blobs = split(msgspec.json.encode(result))
    divided = msgspec.json.decode(small)
    assert (divided["output"], divided["result"]["n"]) == ("", 3)
    assert divided["content"] == divided["result"]["text"] == reference(b'"' + b"x" * 500_000 + b'"')
    assert len(blobs) == 1


def test_what_has_references_already_is_not_put_into_a_blob() -> None:
    inner = reference(b'"large"')
    value = {"a": inner, "b": "y" * 400_000, "c": [inner] * 5_000}
    small, blobs = split(msgspec.json.encode(value))
    assert msgspec.json.decode(small)["c"] == value["c"]
    assert [msgspec.json.decode(content) for content in blobs.values()] == ["y" * 400_000]


@pytest.mark.parametrize(
    "value",
    [
        {"$blob": "sha256:12", "size_bytes": 1},
        {"$blob": name_of(b""), "size_bytes": 1, "more": 1},
        {"$blob": 1},
        [name_of(b"")],
        name_of(b""),
        {},
        None,
    ],
)
def test_only_what_is_exactly_a_reference_is_one(value: object) -> None:
    assert not is_blob(value)
    assert list(references_in(value)) == []


def test_the_content_of_a_file_is_a_text_or_base64() -> None:
    assert value_of(reference(b"\xef\xbb\xbfhi", "text"), b"\xef\xbb\xbfhi") == "hi"
    assert value_of(reference(b"caf\xe9", "text"), b"caf\xe9") == "café"
    assert value_of(reference(b"\0\1", "base64"), b"\0\1") == "AAE="
    with pytest.raises(msgspec.DecodeError):
        value_of(reference(b"{"), b"{")


def test_names_are_found_in_json_and_not_in_texts_that_look_like_it() -> None:
    name = name_of(b"1")
    assert list(names_in(msgspec.json.encode({"a": [{"$blob": name, "size_bytes": 1}]}))) == [name]
    assert list(names_in(msgspec.json.encode({"a": f'{{"$blob": "{name}"}}'}))) == []
