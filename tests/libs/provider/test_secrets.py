"""What a provider knows by name, and that it says nothing of it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.errors import ConfigurationError, InvalidParams
from gleitzeit.jsonrpc.messages import Failure
from gleitzeit.model.secrets import Place, Secret
from gleitzeit.provider.secrets import Sieve, Veil, looked_up, revealed

LONG = 'pass"wörd\n1'


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "FILED").write_text("from a file\n")
    (folder / "BOTH").write_text("from a file")
    (folder / "BAD").write_bytes(b"\xff")
    (tmp_path / "outside").write_text("not to be had")
    return {"GLEITZEIT_STATE": str(tmp_path), "GLEITZEIT_SECRET_BOTH": "from a variable", "PLAIN": "no"}


def test_a_variable_goes_before_a_file(environ: dict[str, str], tmp_path: Path) -> None:
    assert looked_up("FILED", environ) == "from a file"
    assert looked_up("BOTH", environ) == "from a variable"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "FILED").write_text("moved")
    assert looked_up("FILED", {**environ, "GLEITZEIT_SECRETS": str(tmp_path / "elsewhere")}) == "moved"


@pytest.mark.parametrize(
    ("name", "words"),
    [("NOPE", "there is no secret 'NOPE'"), ("PLAIN", "no secret"), ("../outside", "no secret"), ("BAD", "be read")],
)
def test_what_is_not_known_is_said_with_what_to_do(environ: dict[str, str], name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        looked_up(name, environ)
    assert not caught.value.retryable


def test_they_are_put_in_and_a_wrong_place_is_refused(environ: dict[str, str]) -> None:
    params: dict[str, Any] = {"headers": {"Authorization": "…"}, "said": "${secrets.FILED}"}
    veil = revealed(params, [Place(("headers", "Authorization"), ("Bearer ", Secret("FILED")))], environ)
    assert params == {"headers": {"Authorization": "Bearer from a file"}, "said": "${secrets.FILED}"}
    assert veil.text("it was 'from a file'") == "it was '***'"
    with pytest.raises(InvalidParams, match="a place that is not in the params"):
        revealed(params, [Place(("said", 3), (Secret("FILED"),))], environ)


def test_nothing_is_left_of_them_in_results_and_errors() -> None:
    veil = Veil.over([LONG, "abc", ""])
    result = {"a": [f"<{LONG}>", 1, None], LONG: "abc", "repr": repr(LONG), "abcd": "abcd abc"}
    escaped = LONG.encode("ascii", "backslashreplace")
    assert escaped not in (encoded := veil.outcome(msgspec.json.encode(result)))  # type: ignore[operator]
    assert msgspec.json.decode(encoded)["a"] == ["<***>", 1, None]  # type: ignore[arg-type]
    assert msgspec.json.decode(encoded)["***"] == "***"  # type: ignore[arg-type]
    assert msgspec.json.decode(encoded)["abcd"] == "abcd ***"  # type: ignore[arg-type]
    failure = Failure(1, f"no {LONG}", msgspec.Raw(msgspec.json.encode({"said": LONG})))
    assert veil.outcome(failure) == Failure(1, "no ***", msgspec.Raw(b'{"said":"***"}'))


def test_a_result_without_them_stays_as_it_is() -> None:
    encoded = b'{"a" : 1.0, "b":"\\u0041"}'
    assert Veil.over([LONG]).outcome(encoded) is encoded


SECRETS = ["a-secret-key", "a-secret-key-2", "aaaaaaaa", "pin", "ü😀ü😀ü😀ü😀"]


@given(st.lists(st.sampled_from([*SECRETS, "a", "pi", "n", " ", "x", "-", "secret"]), max_size=12), st.data())
def test_a_text_in_pieces_hides_what_a_whole_one_does(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    veil = Veil.over(SECRETS)
    sieve = Sieve(veil)
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    said = "".join(map(sieve.feed, pieces)) + sieve.end()
    assert said == veil.text(text)


def test_what_begins_no_secret_is_said_at_once() -> None:
    sieve = Sieve(Veil.over(["a-secret-key"]))
    assert [sieve.feed(piece) for piece in ("the key: ", "a-", "sec", "ond one", "a-secret-key!")] == [
        "the key: ", "", "", "a-second one", "***!",
    ]  # fmt: skip


def test_a_number_may_be_one() -> None:
    veil = Veil.over(["12345678", "42", "3.14159265"])
    assert veil.value({"a": [12345678, 42, 3.14159265, True, 1234567]}) == {"a": ["***", 42, "***", True, 1234567]}
