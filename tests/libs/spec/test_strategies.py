import re

import pytest

from gleitzeit.spec.strategies import read_strategies, strategy_of

ALL = "least_loaded, round_robin, model_affinity, best_fit"


def test_what_is_said_of_a_method_counts_before_its_protocol_and_that_before_the_rest() -> None:
    read = read_strategies("round_robin, llm/v1=Model-Affinity,llm/embeddings=best_fit")
    assert read == {"": "round_robin", "llm": "model_affinity", "llm/embeddings": "best_fit"}
    methods = ("llm/embeddings", "llm/chat", "python/execute")
    assert [strategy_of(method, read) for method in methods] == ["best_fit", "model_affinity", "round_robin"]
    assert strategy_of("llm/chat", {}) == strategy_of("llm/chat", read_strategies("")) == "least_loaded"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("robin_round", f"'robin_round' is no strategy: there are {ALL}"),
        ("a=round_robbin", f"'round_robbin' is no strategy: there are {ALL}; did you mean round_robin?"),
        ("llm=", f"'' is no strategy: there are {ALL}"),
        ("best_fit,round_robin", "what all others do is there twice"),
        ("llm=best_fit,llm/v1=best_fit", "llm is there twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        read_strategies(text)
