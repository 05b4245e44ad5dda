"""How good a model is: tasks, their scores with intervals and baselines, and the report."""
