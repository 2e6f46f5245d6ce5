"""The SDK of a provider author: `Provider`, `Call`, and `TaskError` to fail a task."""

from gleitzeit.errors import TaskError
from gleitzeit.provider.call import Call
from gleitzeit.provider.provider import Provider

__all__ = ["Call", "Provider", "TaskError"]
