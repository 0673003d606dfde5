"""What belongs to a local run's directory: its checkpoints, which of them are kept, its table, curves and log."""
