"""By what the instance for a call is chosen where several could have it, as an operator writes it:
`round_robin`, or `least_loaded,llm=model_affinity,python/execute=best_fit`."""

from collections.abc import Mapping
from typing import Final

from gleitzeit.schemas import near

LEAST_LOADED: Final = "least_loaded"
ROUND_ROBIN: Final = "round_robin"
MODEL_AFFINITY: Final = "model_affinity"
BEST_FIT: Final = "best_fit"
STRATEGIES: Final = (LEAST_LOADED, ROUND_ROBIN, MODEL_AFFINITY, BEST_FIT)


def read_strategies(text: str) -> dict[str, str]:
    """`{method or protocol: strategy}`, protocols as `llm`; "" is for all others. Raises ValueError in words for the
    author."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        subject, _, name = part.rpartition("=")
        subject, name = subject.strip().removesuffix("/v1"), name.strip().replace("-", "_").lower()
        if name not in STRATEGIES:
            meant = near(name, STRATEGIES)
            hint = f"; did you mean {meant}?" if meant else ""
            raise ValueError(f"{name!r} is no strategy: there are {', '.join(STRATEGIES)}{hint}")
        if subject in found:
            raise ValueError(f"{subject or 'what all others do'} is there twice")
        found[subject] = name
    return found


def strategy_of(method: str, strategies: Mapping[str, str]) -> str:
    """What is said of the method itself counts first, then of its protocol."""
    protocol = method.partition("/")[0]
    return strategies.get(method) or strategies.get(protocol) or strategies.get("") or LEAST_LOADED
