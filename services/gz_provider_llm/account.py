"""What one call spends: known where its requests leave, told with its outcome, and never more than its budget leaves.

Whoever serves a call opens an account; the requests that are sent for it find it by themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from msgspec import Struct

from gleitzeit.errors import BudgetExceeded, GleitzeitError
from gleitzeit.provider.call import Allowance
from gz_provider_llm.shapes.results import Usage, sum_of, usage_wire


class Account(Struct):
    """`requests` are those that may have to be paid for; `usage` is None while no server has counted."""

    allowance: Allowance
    requests: int = 0
    usage: Usage | None = None

    def check(self) -> None:
        """Before a request. Raises BudgetExceeded; not before the first, which the coordinator has allowed."""
        calls, tokens = self.allowance.calls, self.allowance.tokens
        used = self.usage.total_tokens if self.usage is not None else 0
        if calls is not None and self.requests >= max(1, calls):
            requests = f"{calls:,} {'request' if calls == 1 else 'requests'}"
            raise BudgetExceeded(f"the budget leaves this call {requests}, and it has made {self.requests:,}")
        if tokens is not None and self.requests and used >= tokens:
            raise BudgetExceeded(f"the budget leaves this call {tokens:,} tokens, and it has used {used:,}")


_current: ContextVar[Account | None] = ContextVar("account", default=None)


@contextmanager
def opened(allowance: Allowance) -> Iterator[Account]:
    """The account of the call that is served within. A failure tells what it has cost."""
    account = Account(allowance)
    token = _current.set(account)
    try:
        yield account
    except GleitzeitError as error:
        if account.requests:
            error.data = {**(error.data or {}), "requests": account.requests, "usage": usage_wire(account.usage)}
        raise
    finally:
        _current.reset(token)


def note(usage: Usage | None) -> None:
    """What an answer has cost."""
    if (account := _current.get()) is not None:
        account.usage = sum_of([account.usage, usage])


def charge() -> None:
    """Before a request that is paid for. Raises BudgetExceeded if it may not be made."""
    if (account := _current.get()) is not None:
        account.check()
        account.requests += 1


def give_back() -> None:
    """The request was refused before anything was generated."""
    if (account := _current.get()) is not None:
        account.requests -= 1
