"""The local stack as `gz up` runs it."""
