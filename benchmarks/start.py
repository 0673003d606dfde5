"""How long does each system take to its first batch, and the command to its help?

Each system is a script of its own with the imports that a person would write. It ends where the first batch is put together, so
that nothing of the training is in it.
"""

from __future__ import annotations

import os
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Sequence

from benchmarks.names import ADAPTER, BARE_LOOP, HELP, INTERPRETER, LIGHTNING, PYTORCH_TRIAL
from benchmarks.processes import failed, run
from benchmarks.turns import in_turns

#: The seconds of one system: of the processor and of the wall clock, from the start of the interpreter and from the call on.
MEASURED = ("cpu", "wall", "call cpu", "call wall")

_CLOCKS = '''
import os, resource, sys, time

def spent():
    """Seconds of the processor, git and other helpers included, and since the interpreter was started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used), time.time() - float(os.environ["BENCHMARK_LAUNCHED"])
'''
#: What all scripts have after their own imports: the data, and the end.
_DATA = '''
def ends(samples):
    """Put the first batch together, and tell what it took to come here."""
    here = spent()
    print("first batch", *here, *(now - then for now, then in zip(here, at_call)), flush=True)
    os._exit(0)

def loader():
    data = torch.utils.data.TensorDataset(torch.randn(64, 784), torch.randint(0, 10, (64,)))
    return torch.utils.data.DataLoader(data, batch_size=32, collate_fn=ends)

def perceptron():
    return torch.nn.Sequential(torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
'''
_MODULE = """
    def __init__(self):
        super().__init__()
        self.net = perceptron()

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())

    def train_dataloader(self):
        return loader()
"""
#: Imports and call of each system. Both of Lightning's ways keep its default logger, bar and summary.
_SCRIPTS = {
    BARE_LOOP: (
        "import torch\n",
        """
at_call = spent()
model = perceptron()
optimizer = torch.optim.Adam(model.parameters())
for batch in loader():
    pass
""",
    ),
    PYTORCH_TRIAL: (
        "import torch\nfrom determined import pytorch\n",
        """
class Trial(pytorch.PyTorchTrial):
    def __init__(self, context):
        self.context = context
        self.model = context.wrap_model(perceptron())
        self.optimizer = context.wrap_optimizer(torch.optim.Adam(self.model.parameters()))
        context.experimental.disable_dataset_reproducibility_checks()

    def build_training_data_loader(self):
        return loader()

    def build_validation_data_loader(self):
        return loader()

    def train_batch(self, batch, epoch_idx, batch_idx):
        return {}

    def evaluate_batch(self, batch, batch_idx):
        return {}

at_call = spent()
with pytorch.init() as context:
    pytorch.Trainer(Trial(context), context).fit(max_length=pytorch.Batch(2))
""",
    ),
    LIGHTNING: (
        "import torch\nimport pytorch_lightning as pl\n",
        f"""
class Module(pl.LightningModule):{_MODULE}
at_call = spent()
pl.Trainer(accelerator="cpu", devices=1, max_epochs=1).fit(Module())
""",
    ),
    ADAPTER: (
        "import torch\nfrom lightning_adapter import DETLM, LightningAdapter, fit\n",
        f"""
class Module(DETLM):{_MODULE}
class Trial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Module(), max_epochs=1)

at_call = spent()
fit(Trial)
""",
    ),
}


def first_batches(repetitions: int) -> dict[str, dict[str, list[float]]]:
    """Seconds to the first batch, by system and by what of `MEASURED`, one for each repetition.

    Raises:
        MeasurementError: a script has failed.
    """
    found: dict[str, dict[str, list[float]]] = {system: {name: [] for name in MEASURED} for system in _SCRIPTS}
    for system in (ADAPTER, LIGHTNING):  # what they import, and the others with them, is in the cache of files
        _first_batch(system)
    for system in in_turns(list(_SCRIPTS), repetitions):
        for name, seconds in zip(MEASURED, _first_batch(system), strict=True):
            found[system][name].append(seconds)
    return found


def helps(repetitions: int) -> dict[str, dict[str, list[float]]]:
    """Seconds that `HELP` takes, and `INTERPRETER`, which is a part of it: "cpu" and "wall", one for each repetition.

    Raises:
        MeasurementError: the command has failed, or is not installed beside this interpreter.
    """
    installed = os.fspath(pathlib.Path(sys.executable).parent / "lightning-adapter")
    commands = {INTERPRETER: [sys.executable, "-c", "pass"], HELP: [installed, "--help"]}
    found: dict[str, dict[str, list[float]]] = {name: {"cpu": [], "wall": []} for name in commands}
    for command in commands.values():  # fills caches of files
        _taken(command)
    for name in in_turns(list(commands), repetitions):
        cpu, wall = _taken(commands[name])
        found[name]["cpu"].append(cpu)
        found[name]["wall"].append(wall)
    return found


def _first_batch(system: str) -> list[float]:
    imports, call = _SCRIPTS[system]
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory, "script.py").write_text(f"{_CLOCKS}{imports}{_DATA}{call}", encoding="utf-8")
        done = run([sys.executable, "script.py"], directory, _environment(directory))
    lines = [line for line in done.stdout.splitlines() if "first batch" in line]
    if not lines:
        raise failed(done)
    return [float(word) for word in lines[-1].split()[-len(MEASURED) :]]


def _taken(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of the processor that a command takes, and of the wall clock."""
    with tempfile.TemporaryDirectory() as directory:
        before, then = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = run(command, directory, _environment(directory))
        after, now = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    if done.returncode:
        raise failed(done)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, now - then


def _environment(directory: str) -> dict[str, str]:
    return {
        "CUDA_VISIBLE_DEVICES": "",  # two of the systems would take a GPU unasked
        "XDG_DATA_HOME": directory,
        "BENCHMARK_LAUNCHED": repr(time.time()),
    }
