"""What is asked of a model and what it answers, in the one shape that the methods and every back end share."""
