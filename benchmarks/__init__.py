"""How long does a step take in a bare loop, a hand-written PyTorchTrial, Lightning's Trainer and the adapter?"""
