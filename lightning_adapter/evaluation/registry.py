"""How does a checkpoint of a cluster become a version of a model in Determined's registry?"""

from __future__ import annotations

from dataclasses import dataclass

from determined.common.api import errors
from determined.experimental.client import Determined, Model, ModelVersion

from lightning_adapter.checkpoints import file
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.evaluation.source import Source
from lightning_adapter.platform.login import asking

#: What the registry does not take in the name of a model, or an address would end at.
_NOT_IN_A_NAME = "/\\?#%"


@dataclass(frozen=True)
class Registered:
    """A version of a model.

    Attributes:
        version: its number.
        is_new_model: whether the model was made for it.
        is_new: whether this version was; the checkpoint may have been one.
    """

    version: int
    is_new_model: bool
    is_new: bool


def check_name(name: str) -> None:
    """Refuse what the registry takes for no name.

    Raises:
        ConfigurationError: says why.
    """
    fault = None
    if not name.strip():
        fault = "is empty"
    elif name.isdecimal():
        fault = "is a number, which the registry takes for a model's id"
    elif " ".join(name.split()) != name:
        fault = "has blanks at an end, or several in a row"
    else:
        found = [sign for sign in _NOT_IN_A_NAME if sign in name]
        fault = f"has {found[0]} in it" if found else None
    if fault is not None:
        raise ConfigurationError(
            f"The name of a model {shown(name)} {fault}. Give a name such as digits or digits-cnn."
        )


def uuid_of(source: Source) -> str:
    """The id that a master knows a checkpoint of this machine under.

    Raises:
        ConfigurationError: it was trained here, or is a package, so no master has it.
        CheckpointError: what it says of itself is damaged.
    """
    checkpoint = source.checkpoint
    if source.is_package:
        raise ConfigurationError(
            f"{checkpoint} is a package, and the registry of a cluster holds checkpoints of its own trials. Give the id of the "
            "checkpoint that it was made of, or the number of the experiment."
        )
    if "trial_id" not in file.metadata(checkpoint):
        raise ConfigurationError(
            f"{checkpoint} was trained on this machine, and the registry of a cluster holds checkpoints of its own trials. "
            "Train it there (lightning-adapter submit EXPERIMENT.yaml), or hand it on as a file: lightning-adapter export "
            f"{checkpoint} --to package."
        )
    return checkpoint.name


def register(client: Determined, uuid: str, name: str, description: str | None) -> Registered:
    """Make a checkpoint a version of a model, which is made where there is none of that name.

    Args:
        client: logged in.
        uuid: of the checkpoint.
        name: of the model.
        description: of the model, where it is made; of one that is there, kept as the notes of the version.

    Raises:
        ConfigurationError: the name is none, or the master refuses.
        LightningAdapterError: the master fails.
    """
    check_name(name)
    with asking(f"the model {name}"):
        model, is_new_model = _model(client, name, description)
        known = None if is_new_model else _version_of(model, uuid)
        if known is not None:
            return Registered(known.model_version, is_new_model=False, is_new=False)
        version = model.register_version(uuid)
        if description is not None and not is_new_model:
            version.set_notes(description)
    return Registered(version.model_version, is_new_model, is_new=True)


def _model(client: Determined, name: str, description: str | None) -> tuple[Model, bool]:
    try:
        return client.get_model(name), False
    except errors.NotFoundException:
        return client.create_model(name, description or ""), True


def _version_of(model: Model, uuid: str) -> ModelVersion | None:
    versions = model.list_versions()
    return next((each for each in versions if each.checkpoint is not None and each.checkpoint.uuid == uuid), None)
