"""What is configured: for a command, and as `gz config` and `gz auth` edit it."""
