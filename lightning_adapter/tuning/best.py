"""best.yaml: which experiment trains the best trial of a search once more?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_adapter.platform import experiment
from lightning_adapter.platform.experiment.revised import revised

#: What a single searcher takes of another one's keys (`searcher-single.json`).
_OF_SINGLE = ("metric", "smaller_is_better", "source_trial_id", "source_checkpoint_uuid")
_KINDS = ("cpu", "cuda", "rocm")


def best_yaml(text: str, hyperparameters: Mapping[str, Any], seed: int, note: str, variables: Mapping[str, str]) -> str:
    """Return an experiment YAML with the values of one trial as constants, and a single search.

    Args:
        text: the searched YAML; what it says besides stays, comments too.
        hyperparameters: all of the trial's, nested; in the file they replace ranges, and what was typed beside it.
        seed: becomes `reproducibility.experiment_seed`.
        note: a first comment, of one or more lines.
        variables: environment variables that the run needs to give the very same numbers; added to
            `environment.environment_variables` where they are not set there.

    Raises:
        ConfigurationError: the text is no YAML.
    """
    searched = experiment.plain(experiment.parse_value("the searched experiment", text))
    assert isinstance(searched, dict)  # it has been searched
    wanted = {
        **searched,
        "hyperparameters": _constants(searched.get("hyperparameters") or {}, hyperparameters),
        "searcher": _single(searched.get("searcher") or {}),
        "reproducibility": {**(searched.get("reproducibility") or {}), "experiment_seed": seed},
    }
    if variables:
        environment = searched.get("environment") or {}
        given = _with_variables(environment.get("environment_variables"), variables)
        wanted["environment"] = {**environment, "environment_variables": given}
    head = "".join(f"# {line}".rstrip() + "\n" for line in note.splitlines())
    return head + revised(text.removeprefix("\ufeff"), wanted)


def _constants(spec: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a group as a file holds them; a constant that is written as one stays so."""
    written = experiment.as_written(values)
    return {
        name: _constant(spec[name], value, written[name]) if name in spec else written[name]
        for name, value in values.items()
    }


def _constant(spec: object, value: object, written: object) -> object:
    """One value, in the place of what the searched file says of it."""
    if not isinstance(spec, Mapping):
        return written
    if spec.get("type") == "const":
        return {"type": "const", "val": value}
    if "type" not in spec and isinstance(value, Mapping):
        return _constants(spec, value)
    return written


def _single(searcher: Mapping[str, Any]) -> dict[str, Any]:
    """A searcher that makes one trial, as long as those of the search."""
    kept = {name: searcher[name] for name in _OF_SINGLE if name in searcher}
    length = _length(searcher)
    return {"name": "single", **kept, **({} if length is None else {"max_length": length})}


def _length(searcher: Mapping[str, Any]) -> dict[str, int] | None:
    """The length that the searcher gives a trial, in the one form that a single searcher has for it; None of another's metric."""
    length = searcher.get("max_length")
    if isinstance(length, Mapping):
        return dict(length)
    if length is not None:
        return None if searcher.get("unit") is None else {searcher["unit"]: length}
    if searcher.get("max_time") is not None and searcher.get("time_metric") in ("batches", "epochs"):
        return {searcher["time_metric"]: searcher["max_time"]}
    return None


def _with_variables(given: Any, variables: Mapping[str, str]) -> Any:
    """The variables of a file and some more; those of the file win, for each kind of slot by itself."""
    if isinstance(given, Mapping):
        # `gpu` is what Determined called CUDA's at first, and reads where there is no `cuda`
        kinds = [
            kind if kind != "cuda" or given.get(kind) is not None or given.get("gpu") is None else "gpu"
            for kind in _KINDS
        ]
        return {**given, **{kind: _with_variables(given.get(kind), variables) for kind in kinds}}
    lines = list(given or [])
    names = {line.partition("=")[0] for line in lines}
    return lines + [f"{name}={value}" for name, value in variables.items() if name not in names]
