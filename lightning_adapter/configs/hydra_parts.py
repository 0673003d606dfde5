"""How are module, datamodule, callbacks, loggers and the Trainer's arguments made of a Hydra tree?"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from lightning_adapter.configs.hydra_checks import faults_below, import_targets
from lightning_adapter.configs.hydra_layout import Layout
from lightning_adapter.configs.hydra_values import has, in_words, value_at
from lightning_adapter.configs.parts import Parts
from lightning_adapter.configs.trainer_defaults import without_defaults
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.experiment.faults import raise_all
from lightning_adapter.versions import hosts
from lightning_adapter.versions.types import LightningDataModule, LightningModule

#: Where the traceback of what a target has raised begins.
_HYDRA = ("hydra.", "omegaconf.")
#: Packages whose complaints are about what was given to them, not about code of the user's.
_HOSTS = ("lightning.", "pytorch_lightning.", "lightning_fabric.", "torch.", "torchmetrics.")


def instantiated(cfg: Any) -> Parts:
    """Make everything, in the order of `train` in the lightning-hydra-template.

    Args:
        cfg: a configuration whose interpolations resolve.

    Raises:
        ConfigurationError: something cannot be made.
    """
    import_targets(cfg)
    layout = Layout(cfg)
    raise_all("configuration", layout.faults())
    assert layout.model is not None and layout.trainer is not None and layout.trainer_class is not None
    datamodule = None if layout.data is None else _datamodule(layout.data, _made(layout.data, cfg[layout.data]))
    module = _module(layout.model, _made(layout.model, cfg[layout.model]))
    given = {name: _all_made(cfg, layout, name) for name in ("callbacks", "logger")}
    extras = {name: given[name] for name in layout.given_to_trainer()}
    made = _made(layout.trainer, cfg[layout.trainer], _target_="builtins.dict", **extras)
    arguments = made if isinstance(made, dict) else made()  # of a `_partial_`, which a script calls
    plain = {name: _plain(value) for name, value in arguments.items()}
    return Parts(module, datamodule, without_defaults(plain, layout.trainer_class))


def _all_made(cfg: Any, layout: Layout, name: str) -> Any:
    """Callbacks or loggers at the top: a list, or what stands for loggers by itself (true, false)."""
    value, _ = value_at(cfg, name, name) if has(cfg, name) else (None, "")
    if isinstance(value, bool):
        return value
    made = [_made(place, node) for place, node in layout.collected(name)]
    # one target for all of them may give several
    return [item for one in made for item in (one if isinstance(one, (list, tuple)) else [one])]


def _made(key: str, node: Any, **more: Any) -> Any:
    """What `hydra.utils.instantiate` makes of a node.

    Raises:
        ConfigurationError: what it says of the tree. What the user's own code raises is raised as it is.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return hydra.utils.instantiate(node, **more)
    except OmegaConfBaseException as error:
        # with their places, which `OmegaConf.resolve` does not tell
        raise_all("configuration", faults_below(node, key, more))
        raise ConfigurationError(f"configuration: {in_words(key, error)}") from error
    except HydraException as error:
        cause = error.__cause__
        while isinstance(cause, HydraException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, Exception) and _is_the_users(cause.__traceback__):
            raise cause from None
        raise_all("configuration", faults_below(node, key, more))
        raise ConfigurationError(f"configuration: {_told(key, error, cause)}") from error


def _told(key: str, error: Exception, cause: BaseException | None) -> str:
    """The message of Hydra's exception on one line, which begins with the place, and ends with what lies behind it."""
    lines = [line.strip() for line in str(error).splitlines()]
    place = next((line.partition(": ")[2] for line in lines if line.startswith("full_key: ")), key)
    if cause is None:
        return f"{place}: {' '.join(line for line in lines if not line.startswith('full_key: '))}"
    return f"{place}: {lines[0].rstrip(':')}: {type(cause).__name__}: {cause}"


def _is_the_users(traceback: TracebackType | None) -> bool:
    """Whether an exception comes from below a call, and the code there is not a host's."""
    while traceback is not None:
        module = f"{traceback.tb_frame.f_globals.get('__name__', '')}."
        if not module.startswith(_HYDRA):
            return not module.startswith(_HOSTS)
        traceback = traceback.tb_next
    return False


def _module(key: str, made: Any) -> LightningModule:
    module = hosts.uncompiled(made)
    host = hosts.host_of_class(type(module))
    if host is None or not isinstance(module, host.pl.LightningModule):
        raise ConfigurationError(f"configuration: {key} is {_kind(made)}, which is no LightningModule")
    result: LightningModule = made
    return result


def _datamodule(key: str, made: Any) -> LightningDataModule:
    host = hosts.host_of_class(type(made))
    if host is None or not isinstance(made, host.pl.LightningDataModule):
        raise ConfigurationError(f"configuration: {key} is {_kind(made)}, which is no LightningDataModule")
    result: LightningDataModule = made
    return result


def _kind(made: Any) -> str:
    return f"of type {type(made).__module__}.{type(made).__qualname__}"


def _plain(value: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
