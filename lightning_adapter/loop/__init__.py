"""How does Lightning train: epochs, batches, steps, validation, optimizers, schedulers, precision, strategies?"""
