"""Several models for one call, tried in order: what is told of those that failed."""

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from gleitzeit.errors import BudgetExceeded
from gz_provider_llm.errors import LlmError, ModelNotFound, RateLimited, Unauthorized

_T = TypeVar("_T")
_Failed = LlmError | RateLimited


async def first_that_can(
    models: Sequence[str], ask: Callable[[str], Awaitable[_T]], log: Callable[[str], object]
) -> _T:
    """An answer. With another model the same call may go well, whatever is wrong; but not with the same key. Raises
    what `_of_all` makes of the failures."""
    failed: dict[str, _Failed] = {}
    for model, following in itertools.pairwise((*models, "")):
        try:
            return await ask(model)
        except BudgetExceeded as error:
            if failed:
                error.message += f" ({_told(failed)})"
            raise
        except (LlmError, RateLimited) as error:
            failed[model] = error
            if len(models) == 1 or isinstance(error, Unauthorized):
                break
            log(f"{model}: {error.message}" + (f"; now {following}" if following else ""))
    raise _of_all(failed)


def _of_all(failed: Mapping[str, _Failed]) -> _Failed:
    """What the failures of several models are together: that of the one whose limit ends first, which can be waited
    for; without such a one that of the last, of those that there are here.
    """
    here = {model: error for model, error in failed.items() if not isinstance(error, ModelNotFound)} or failed
    limited = {model: error.retry_after_seconds for model, error in here.items() if isinstance(error, RateLimited)}
    last = min(limited, key=limited.__getitem__) if limited else list(here)[-1]
    error = here[last]
    if len(failed) == 1:
        return error
    others = {model: one for model, one in failed.items() if model != last}
    error.message = f"{error.message} (the other models failed, too: {_told(others)})"
    return error


def _told(failed: Mapping[str, _Failed]) -> str:
    return "; ".join(f"{model}: {error.message}" for model, error in failed.items())
