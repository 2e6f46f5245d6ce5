"""What spans workflows: the queue, providers and how well they are, places and permits. Rebuilt at start."""
