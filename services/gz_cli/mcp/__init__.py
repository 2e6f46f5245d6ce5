"""MCP: the configured servers, their file, and Gleitzeit as a server."""
