"""Where does Determined keep a trial's TensorBoard files, and how are they had from outside of a cluster?"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from determined import tensorboard
from determined.common import storage
from determined.common.api import bindings
from determined.experimental.client import Determined

from lightning_adapter.versions import determined_client


def download_tensorboard(
    client: Determined, config: Mapping[str, Any], experiment: int, trial: int, directory: pathlib.Path
) -> None:
    """Copy them from the storage of checkpoints, where their place is named by the cluster (determined 0.38.1).

    Args:
        client: its session asks for the cluster's id.
        config: `checkpoint_storage` of the experiment.
        experiment: its number.
        trial: its number.
        directory: where they go.

    Raises:
        Exception: there are none, or the storage is not in reach; each storage has errors of its own.
    """
    cluster = bindings.get_GetMaster(determined_client.session(client)).clusterId
    place = tensorboard.get_sync_path(cluster, str(experiment), str(trial))
    storage.build(dict(config), container_path=None).download(str(place), str(directory))
