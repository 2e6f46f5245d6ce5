"""What is journaled: workflows, their tasks, and schedules, each moved by its own stream of events alone."""
