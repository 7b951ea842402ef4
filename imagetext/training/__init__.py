"""Training for all tasks: configuration, optimizer, fit, checkpoints, resuming, run folders."""
