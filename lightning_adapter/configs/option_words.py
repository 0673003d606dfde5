"""Which words of other commands are typed where overrides stand, and what is typed instead?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lightning_adapter.errors import ConfigurationError

#: By which Hydra's own command line tries a sweep; nothing follows them.
FLAGS = ("-m", "--multirun")
#: By which Hydra's own command line names a configuration.
_NAMES = ("--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd")
#: By which `lightning-adapter fit` takes a hyperparameter.
_OF_FIT = ("--hparam", "--hparams")


def refuse(words: Iterable[str]) -> None:
    """Refuse options among overrides of Hydra's, which begin with no dash.

    Args:
        words: `key=value`, `--option` or `--option=value` each.

    Raises:
        ConfigurationError: says what to type instead of all of them.
    """
    _raise(fault for word in words if word.startswith("-") for fault in (_of_hydra(word),))


def refuse_of_fit(words: Iterable[str]) -> None:
    """Refuse options by which other commands take hyperparameters.

    Args:
        words: as those of `refuse`, without options that the source itself has.

    Raises:
        ConfigurationError: says what to type instead of all of them.
    """
    options = (word for word in words if word.partition("=")[0] in (*_OF_FIT, *FLAGS))
    _raise(_of_fit(word) or _of_sweep(word.partition("=")[0]) for word in options)


def _of_hydra(word: str) -> str:
    option, equals, value = word.partition("=")
    if option in FLAGS:
        return _of_sweep(option)
    if option in _NAMES:
        return f"{option}: the configuration is named as SOURCE. To fix, type lightning-adapter init DIR/NAME"
    said = _of_fit(word)
    if said is not None:
        return said
    key = option.lstrip("-")
    return f"{word}: Hydra's overrides begin with no dash. To fix, type {key}={value if equals else 'VALUE'}"


def _of_sweep(option: str) -> str:
    return f"{option}: init reads a sweep without it, as lr=0.1,0.01. To fix, leave {option} out"


def _of_fit(word: str) -> str | None:
    option, _, value = word.partition("=")
    if option not in _OF_FIT:
        return None
    return f"{option} is an option of lightning-adapter fit. To fix, type {value or 'NAME=VALUE'} without it"


def _raise(faults: Iterator[str]) -> None:
    told = "\n".join(faults)
    if told:
        raise ConfigurationError(told)
