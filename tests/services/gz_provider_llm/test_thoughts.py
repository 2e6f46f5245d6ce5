"""What is thought and what is said in one text, however it is cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gz_provider_llm.ollama_wire import Answer as OllamaAnswer
from gz_provider_llm.openai_answer import Answer
from gz_provider_llm.thoughts import Thoughts

TEXTS = [
    ("<think>\nhm, <b>1 < 2</b>\n</think>\n\nyes", "yes", "hm, <b>1 < 2</b>"),
    ("  <think>a</think>b</think>", "b</think>", "a"),
    ("<think></think>\n\nb", "b", ""),
    ("use <think> and </think>", "use <think> and </think>", ""),
    ("  \n indented", "  \n indented", ""),
    ("<thin ice", "<thin ice", ""),
    ("<thi", "<thi", ""),
    ("<think>never </thi", "", "never </thi"),
    ("", "", ""),
]


def parted(pieces: list[str]) -> tuple[str, str]:
    thoughts = Thoughts()
    fed = [thoughts.feed(piece) for piece in pieces]
    rest = thoughts.end()
    said, thought = "".join(one for one, _ in fed), "".join(one for _, one in fed)
    return (said, thought + rest) if thoughts.open else (said + rest, thought)


@pytest.mark.parametrize(("text", "said", "thought"), TEXTS)
def test_whole_and_letter_by_letter(text: str, said: str, thought: str) -> None:
    assert parted([text]) == parted([*text]) == (said, thought)


@given(
    text=st.lists(st.sampled_from(["<think>", "</think>", "</th", "<", " ", "\n", "a"])).map("".join), data=st.data()
)
def test_how_it_is_cut_makes_no_difference(text: str, data: st.DataObject) -> None:
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[start:end] for start, end in zip([0, *at], [*at, len(text)], strict=True)]
    assert parted(pieces) == parted([text])


def test_the_answers_of_servers_are_parted() -> None:
    text = "<think>hm</think>\nyes"
    of_openai, raw = Answer("m"), Answer("m", raw=True)
    for answer in (of_openai, raw):
        answer.add({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
    assert (of_openai.result().content, of_openai.result().reasoning) == ("yes", "hm")
    assert (raw.result().content, raw.result().reasoning) == (text, "")
    of_ollama = OllamaAnswer()
    said = [of_ollama.add({"message": {"content": piece}}) for piece in ("<thi", "nk>h", "m</think>\n", "yes")]
    said.append(of_ollama.add({"done": True}))
    assert "".join(said) == of_ollama.result("m", "p").content == "yes"
    assert of_ollama.result("m", "p").reasoning == "hm"
