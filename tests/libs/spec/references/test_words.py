"""Words as a shell would have them, and what only a shell understands."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.spec.references.words import split


@given(words=st.lists(st.text()))
def test_what_is_quoted_comes_back(words: list[str]) -> None:
    assert split(shlex.join(words)) == words


@given(line=st.text(alphabet="ab \t'\"\\-="))
def test_quotes_mean_what_they_mean_to_shlex(line: str) -> None:
    try:
        wanted = shlex.split(line)
    except ValueError:
        with pytest.raises(ValueError, match="cannot be split"):
            split(line)
    else:
        assert split(line) == wanted


@pytest.mark.parametrize(
    "line",
    [
        "a | b", "a > b", "a >b", "a >> b", "a 2>b", "a 2>&1", "a &>b", "a < b", "a <b", "a << E", "a <<E", "a && b",
        "a || b", "a & b", "a; b", "a ; b", "( a )",
    ],
)  # fmt: skip
def test_only_a_shell_understands_it(line: str) -> None:
    with pytest.raises(ValueError, match="to a shell only"):
        split(line)
    assert split(f"'{line}'") == [line]


@pytest.mark.parametrize("line", ["a>=1", "pip install >=2", "<b>hi</b>", "a->b", "http://h/?a=1&b=2", "a|b", "x;"])
def test_what_stands_within_a_word_is_part_of_it(line: str) -> None:
    assert split(line) == line.split()


def test_a_line_that_goes_on_in_the_next() -> None:
    assert split('ls \\\n  -l \\\n  "a\\\nb" c\\\nd') == ["ls", "-l", "ab", "cd"]
    assert split("ls\n-l") == ["ls", "-l"]
