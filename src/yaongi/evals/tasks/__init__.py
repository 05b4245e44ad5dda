"""The tasks, one file each; ``evals.task.TASKS`` registers them."""
