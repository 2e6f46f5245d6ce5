"""Durable workflows of LLM, Python and MCP tasks. `gleitzeit.client` is what a Python program begins with."""

__version__ = "0.1.0"
"""Of the whole wheel; the build reads it here."""
