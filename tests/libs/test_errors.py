"""The tree in the docstring is the tree of classes, and every error comes back from the wire as what it was."""

import inspect
import re
from collections.abc import Iterator

import pytest

from gleitzeit import errors
from gleitzeit.errors import GleitzeitError, error_for, is_retryable

LINE = re.compile(r"^(?P<branch>[ │├└─]*)(?P<name>[A-Z]\w+)\s+(?P<code>-\d+)?", re.MULTILINE)
SAME_CODE_AS_ITS_PARENT = {"InvalidRequest"}
"""A ProtocolError is an invalid request, if it is nothing more precise."""


def drawn() -> dict[str, tuple[str, int | None]]:
    """Name -> (parent, code) as the docstring says."""
    text = (errors.__doc__ or "").split("\n\n")[1]
    path: list[tuple[int, str]] = []
    tree: dict[str, tuple[str, int | None]] = {}
    for match in LINE.finditer(text):
        depth = len(match["branch"])
        while path and path[-1][0] >= depth:
            path.pop()
        parent = path[-1][1] if path else ""
        if match["name"] == "RemoteError":  # drawn at the end: it has no code of its own
            parent = "GleitzeitError"
        tree[match["name"]] = parent, int(match["code"]) if match["code"] else None
        path.append((depth, match["name"]))
    return tree


def classes() -> dict[str, type[GleitzeitError]]:
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: cls for name, cls in found if issubclass(cls, GleitzeitError)}


def leaves() -> Iterator[type[GleitzeitError]]:
    """All that can travel by their own code."""
    return (c for c in classes().values() if c not in (GleitzeitError, errors.ProtocolError, errors.RemoteError))


def test_the_drawing_is_the_tree() -> None:
    in_code = {name: cls.__bases__[0].__name__ for name, cls in classes().items()}
    in_code["GleitzeitError"] = ""
    assert {name: parent for name, (parent, _) in drawn().items()} == in_code


def test_the_drawing_says_the_codes() -> None:
    for name, (_, code) in drawn().items():
        if code is not None:
            assert classes()[name].code == code, name
        else:
            assert name in ("ProtocolError", "RemoteError")


def test_every_class_has_a_code_of_its_own_or_inherits_on_purpose() -> None:
    for name, cls in classes().items():
        inherits = "code" not in vars(cls)
        assert inherits == (name in SAME_CODE_AS_ITS_PARENT | {"RemoteError"}), name
    own = [cls.code for name, cls in classes().items() if name not in SAME_CODE_AS_ITS_PARENT | {"RemoteError"}]
    assert len(own) == len(set(own))
    names = [cls.name for name, cls in classes().items() if name not in SAME_CODE_AS_ITS_PARENT | {"RemoteError"}]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("cls", list(leaves()))
def test_an_error_comes_back_from_the_wire_as_what_it_was(cls: type[GleitzeitError]) -> None:
    error = error_for(cls.code, "why", {"a": 1})
    assert type(error) is cls
    assert (error.message, error.data, str(error)) == ("why", {"a": 1}, "why")


def test_a_code_that_is_none_of_ours_is_kept() -> None:
    error = error_for(-1, "theirs", {"name": "ODD"})
    assert isinstance(error, errors.RemoteError)
    assert (error.code, error.name, error.message) == (-1, "ODD", "theirs")
    assert error_for(-1, "theirs").name == "REMOTE_ERROR"


@pytest.mark.parametrize("data", ["text", 3, [1, 2]])
def test_data_that_is_no_object_is_kept_inside_one(data: object) -> None:
    assert error_for(-28002, "no", data).data == {"data": data}


def test_an_error_without_words_says_its_name() -> None:
    assert str(errors.WorkflowNotFound()) == "workflow not found"


@pytest.mark.parametrize(
    ("code", "data", "again"),
    [
        (-25001, None, True),
        (-32602, None, False),
        (-29002, {"retryable": False}, False),
        (-32602, {"retryable": True}, True),
        (-32602, {"retryable": "yes"}, False),
        (-32602, "text", False),
        (-77, None, True),
    ],
)
def test_whether_another_attempt_can_succeed(code: int, data: object, again: bool) -> None:
    assert is_retryable(code, data) is again


def test_every_code_of_earlier_versions_has_its_name() -> None:
    counts = {-31: 5, -30: 9, -29: 9, -28: 7, -27: 5, -26: 5, -25: 6}
    expected = {thousand * 1000 - number for thousand, count in counts.items() for number in range(1, count + 1)}
    assert set(errors.NAMES) == expected
    for code in expected:
        known = error_for(code, "x")
        assert known.code == code
        assert known.name != "REMOTE_ERROR"


def test_what_earlier_versions_tried_again() -> None:
    for code in (-30006, -30007, -29003, -25001, -25003, -25004, -31004, -31005, -26001):
        assert is_retryable(code), code
    for code in (-32602, -32601, -30008, -29001, -28001, -31003, -25005, -25006):
        assert not is_retryable(code), code
