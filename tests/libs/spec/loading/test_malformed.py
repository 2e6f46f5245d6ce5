import pytest

from gleitzeit.errors import DocumentError
from gleitzeit.spec.loading.load import load_text
from gleitzeit.spec.problems import problems_of


def said(text: str, name: str) -> tuple[int, int, str]:
    with pytest.raises(DocumentError) as caught:
        load_text(text, name=name)
    [found] = problems_of(caught.value)
    return found.line, found.column, found.message


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ('{\n  // what it does\n  "a": 1}', 2, 3, "JSON has no comments"),
        ('{\n  "a": 1, // what it does\n  "b": 2}', 2, 11, "JSON has no comments"),
        ('{"a": 1 /* one */}', 1, 9, "JSON has no comments"),
        ('# what it does\n{"a": 1}', 1, 1, "JSON has no comments"),
        ('{"a": 1}\n// what it did', 2, 1, "JSON has no comments"),
        ("{'a': 1}", 1, 2, "keys and texts stand in double quotes"),
        ("{“a”: 1}", 1, 2, "keys and texts stand in double quotes"),
        ('{"a": “b”}', 1, 7, "keys and texts stand in double quotes"),
        ('{"a": [1, 2,]}', 1, 13, "no ',' may follow the last value"),
        ('{"a": 1,\n}', 2, 1, "no ',' may follow the last value"),
        ('{"a": }', 1, 7, "a value is expected here"),
        ('{"a": None}', 1, 7, "nothing is written as null"),
        ('{"a": [True]}', 1, 8, "true and false are written in small letters"),
    ],
)
def test_json(text: str, line: int, column: int, words: str) -> None:
    found = said(text, "x.json")
    assert found[:2] in ((line, column), (line, column - 1))  # newer versions of Python point at the last comma
    assert words in found[2]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("tasks: - id: a\n", 1, 8, "a '- ' begins a line of its own"),
        ('a: "C:\\Users\\x"\n', 1, 9, "a backslash begins an escape"),
        ('a: "\\d+"\n', 1, 5, "a backslash begins an escape"),
        ("a: *.txt\n", 1, 4, "a text that begins with * needs quotes"),
        ("a:\n  * b: 1\n", 2, 3, "the items of a list begin with '- '"),
        ("a: &\n", 1, 4, "a text that begins with & needs quotes"),
        ("a: {b: !important}\n", 1, 8, "a text that begins with ! needs quotes"),
        ("a:\n  - {b: 1\n  - {c: 2}\n", 3, 5, "a ',' or '}' is expected here: the '{' in line 2 is not closed"),
        ("a: [b, c\nd: 1\n", 2, 2, "a ',' or ']' is expected here: the '[' in line 1 is not closed"),
        ("a: {b: 'it's'}\n", 1, 12, "a ',' or '}' is expected here: the '{' in line 1 is not closed"),
    ],
)
def test_yaml(text: str, line: int, column: int, words: str) -> None:
    found = said(text, "x.yaml")
    assert (found[:2], words in found[2]) == ((line, column), True), found
