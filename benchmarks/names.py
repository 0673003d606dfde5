"""What are systems, models, amounts of logging and commands called, in the results, on the page and in the picture?"""

from __future__ import annotations

BARE_LOOP = "bare loop"
PYTORCH_TRIAL = "PyTorchTrial"
LIGHTNING = "Lightning"
ADAPTER = "adapter"
COMPARED = (BARE_LOOP, PYTORCH_TRIAL, LIGHTNING, ADAPTER)
#: A bare loop that does more of what a Trainer has to do.
KEEPING_LOOP = "bare loop that keeps its values"

PERCEPTRON = "perceptron"
CNN = "MNIST CNN"
TRANSFORMER = "transformer"

NOTHING = "nothing"
ONE_VALUE = "one value"
SEVERAL = "ten values and a metric"
LOGGING = (NOTHING, ONE_VALUE, SEVERAL)

HELP = "lightning-adapter --help"
INTERPRETER = "python -c pass"
