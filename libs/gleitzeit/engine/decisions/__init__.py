"""What follows from an input, one subject a file: each is a class upon the one before, `core` the first of them."""
