"""What is needed and not there. Lighter than light: who only prints how a command ends imports it too."""

from collections.abc import Sequence

from gleitzeit.errors import ConfigurationError, ConnectionLost


class NotRunning(ConnectionLost):
    """No coordinator is configured and none runs here."""


class NoModel(ConfigurationError):
    """What is to run calls a language model, and there is none. `ways` says how to get one."""

    name = "NO_MODEL"

    def __init__(self, message: str, ways: str) -> None:
        super().__init__(message)
        self.ways = ways


class NotAllowed(ConfigurationError):
    """A document wants to run commands, and nobody has said that it may."""

    name = "NOT_ALLOWED"


class NoTool(ConfigurationError):
    """What is to run calls a tool that no MCP server has."""

    name = "NO_TOOL"


class NoProvider(ConfigurationError):
    """A stack that runs already does not serve what is to run."""

    name = "NO_PROVIDER"

    def __init__(self, message: str, names: Sequence[str]) -> None:
        super().__init__(message)
        self.names = names
