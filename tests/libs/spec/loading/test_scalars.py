import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.spec.loading.scalars import plain_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("0", 0),
        ("-3", -3),
        ("+4", 4),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-0.0", 0.0),
        ("1e3", 1000.0),
        ("1.5E-2", 0.015),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    found = plain_scalar(text)
    assert found == value
    assert type(found) is type(value)


SURPRISES = """
    yes no on off y n 012 0x1F 0o7 0b1 1_000 12:30 12:30:00 2026-01-01 1.2.3 1e e3 . - + -. +. .e1 1e999 .inf .nan
    Infinity nan 9223372036854775808 1234567890123456789012345 ١٢ 1a 5s 30s NULLs tRUE
"""


@pytest.mark.parametrize("text", SURPRISES.split())
def test_no_surprises(text: str) -> None:
    assert plain_scalar(text) == text


@given(st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_as_json_writes_them_are_numbers(number: float) -> None:
    assert plain_scalar(json.dumps(number)) == number


@given(st.text(alphabet="0123456789+-.eE_:xX ", max_size=40))
def test_never_raises_and_never_gives_what_json_cannot_hold(text: str) -> None:
    json.dumps(plain_scalar(text), allow_nan=False)
