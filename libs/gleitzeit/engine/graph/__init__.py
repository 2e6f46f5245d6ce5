"""What the tasks of one workflow may do next."""
