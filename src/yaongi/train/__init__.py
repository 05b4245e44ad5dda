"""Training: the loop, objectives, optimizers, schedules, checkpoints, and pretraining."""
