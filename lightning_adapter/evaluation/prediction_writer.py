"""What happens with each prediction while Lightning's Trainer predicts: what is kept of it, and when is it on the disk?"""

from __future__ import annotations

import logging
import time
from typing import Any

import torch

from lightning_adapter import notices
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation import prediction_tables, predictions_directory, shards
from lightning_adapter.evaluation.batch_columns import Found, key_of, target_of
from lightning_adapter.evaluation.continued_loader import (
    FINISHED,
    Loader,
    Marked,
    continued_by_indices,
    finished_loader,
    order_of,
)
from lightning_adapter.evaluation.plain_outputs import Plain, Value, bytes_of, falls_apart, plain, size_of
from lightning_adapter.evaluation.predictions import read_manifest, write_manifest
from lightning_adapter.evaluation.predictions_directory import Request, Standing, look
from lightning_adapter.evaluation.shards import Record, Shard
from lightning_adapter.runs.atomic import replacing
from lightning_adapter.versions import hosts, lightning_prediction
from lightning_adapter.versions.types import LightningModule

logger = logging.getLogger("lightning_adapter")

#: After how many bytes of predictions, or seconds, they are written to the disk: what a kill costs, and what memory holds.
SHARD_BYTES = 1 << 26
SHARD_SECONDS = 30.0


class PredictionWriting:
    """Writes the predictions of one process to shards; a callback of the Trainer's calls it.

    Args:
        request: what predictions are wanted, and where.
        shard_bytes: a shard is written when it has as many.
        shard_seconds: or when the last one was written as long ago.
    """

    def __init__(self, request: Request, shard_bytes: int = SHARD_BYTES, shard_seconds: float = SHARD_SECONDS) -> None:
        self._request = request
        self._limits = (shard_bytes, shard_seconds)
        self._session: _Session | None = None

    def begin(self, trainer: Any, module: LightningModule) -> None:
        """Look at the directory, make it ready, and see to it that finished batches are left out.

        Raises:
            ConfigurationError: it holds something else.
        """
        request, processes = self._request, int(trainer.world_size)
        standing = look(request, processes)
        trainer.strategy.barrier("predictions are looked at")  # before anything is changed there
        if trainer.global_rank == 0:
            predictions_directory.begin(request, standing, processes)
        trainer.strategy.barrier("predictions may be written")
        if not request.parts.is_dir():
            raise ConfigurationError(
                f"Process {trainer.global_rank} does not see {request.parts}, which the first process has made. Give --out a "
                "directory that is the same one on all machines."
            )
        session = _Session(request, standing, trainer, hosts.host_of(module), self._limits)
        self._session = session
        session.begin()

    def batch_begins(self, batch: Value, batch_idx: int, dataloader_idx: int) -> None:
        """Keep what stands beside the prediction: predict_step may take it out of the batch."""
        self._of_session.batch_begins(batch, dataloader_idx)

    def batch_ends(
        self, prediction: Value, indices: list[int] | None, batch: Value, batch_idx: int, loader: int
    ) -> None:
        """Keep a batch's prediction.

        Raises:
            ConfigurationError: it cannot be stored, or not in the format that was asked for.
        """
        self._of_session.batch_ends(prediction, indices, batch, batch_idx, loader)

    def finish(self) -> None:
        """Write what is left, and note that this process has been through all loaders."""
        self._of_session.finish()

    def keep(self) -> None:
        """Write what is left, to be gone on with."""
        if self._session is not None:
            try:
                self._session.flush()
                self._session.leave_no_trace()
            finally:
                self.end()

    def end(self) -> None:
        """Give back the Trainer."""
        if self._session is not None:
            self._session.end()
            self._session = None

    @property
    def _of_session(self) -> _Session:
        assert self._session is not None
        return self._session


class _Session:
    """One process's way through all loaders.

    Args:
        request: what predictions are wanted, and where.
        standing: what is finished.
        trainer: Lightning's.
        host: the package that it is of.
        limits: bytes and seconds after which a shard is written.
    """

    def __init__(
        self, request: Request, standing: Standing, trainer: Any, host: hosts.Host, limits: tuple[int, float]
    ) -> None:
        self._request = request
        self._standing = standing
        self._trainer = trainer
        self._host = host
        self._limits = limits
        self._rank, self._processes = int(trainer.global_rank), int(trainer.world_size)
        self._undo = lightning_prediction.intercept(trainer, self._loader, FINISHED)
        #: By loader, how many batches it has given until now, those of earlier processes included.
        self._counts: list[int] = []
        self._indexed: list[bool] = []
        self._marks: dict[tuple[int, int], str] = {}
        self._running: int | None = None
        self._records: list[Record] = []
        self._bytes, self._written_at = 0, time.monotonic()
        self._beside: tuple[Found, Found] = (Found(None, None), Found(None, None))
        self._width: int | None = None

    # --- loaders ---

    def begin(self) -> None:
        """Have the random state with which the predictions began: a sampler that shuffles then gives the same order."""
        path = self._request.parts / f"rank-{self._rank}.random.pt"
        if self._standing.manifest is not None and path.exists():
            RandomState.of(torch.load(path, weights_only=True)).restore()
        else:
            with replacing(path) as aside:
                torch.save(RandomState.now().state_dict(), aside)

    def _loader(self, loader: Loader) -> Loader:
        """Have the next loader begin behind what is finished."""
        number = len(self._counts)
        indexed = lightning_prediction.has_indices(self._host, loader)
        self._indexed.append(indexed)
        self._counts.append(0)
        self._check_same(number, loader)
        finished = self._standing.finished(number, self._processes)
        if finished is None:
            count = self._standing.done[number, self._rank]
            self._counts[number] = count
            return finished_loader(loader, count)
        shards.cut(self._request.parts, number, self._rank, finished)
        self._counts[number] = finished
        if not indexed:
            return Marked(
                loader,
                [record["mark"] for record in self._finished_records(number)],
                lambda batch, mark: self._marks.__setitem__((number, batch), mark),
                lambda batch: self._other_batch(number, batch),
            )
        return self._continued(loader, number, finished) if finished else loader

    def _continued(self, loader: Loader, number: int, finished: int) -> Loader:
        iterator, drawn = order_of(loader, finished)
        had = [
            None if record["index"] is None else record["index"].tolist() for record in self._finished_records(number)
        ]
        is_same = len(drawn) == finished and all(
            known is None or known == indices for known, indices in zip(had, drawn, strict=False)
        )
        # as in Lightning's own callbacks where all processes have to do the same
        if self._trainer.strategy.reduce_boolean_decision(is_same, all=True):
            return continued_by_indices(loader, iterator, finished)
        notices.warn(
            f"Dataloader {number} gives its samples in another order than before, since its sampler shuffles: its "
            f"{finished} finished batches are predicted again, so that each sample is predicted once."
        )
        predictions_directory.forget(self._request.parts, number, self._rank)
        self._counts[number] = 0
        return loader

    def _finished_records(self, number: int) -> list[Record]:
        parts = self._request.parts
        return list(shards.records(parts, shards.row(shards.found(parts), number, self._rank)))

    def _other_batch(self, number: int, batch: int) -> ConfigurationError:
        return ConfigurationError(
            f"Batch {batch} of dataloader {number} is another one than before, or missing, so that the predictions in "
            f"{self._request.directory} cannot be gone on with: the dataset gives no indices, and another order of samples "
            "each time. Type --overwrite to predict anew."
        )

    def _check_same(self, number: int, loader: Loader) -> None:
        """Refuse to go on with other loaders; the first process notes what they are."""
        sampler = getattr(loader, "batch_sampler", None)
        found = {
            "batches": _length(loader),
            "batch_size": getattr(loader if sampler is None else sampler, "batch_size", None),
            "dataset": _length(getattr(loader, "dataset", None)),
        }
        had = {} if self._standing.manifest is None else dict(enumerate(self._standing.manifest["loaders"]))
        known = had.get(number)
        if known is not None:
            compared = found if self._rank == 0 else {**found, "batches": known.get("batches")}
            differences = [name for name, value in compared.items() if known.get(name) != value]
            if differences:
                rows = [f"- {name}: {known.get(name)} then, {found[name]} now" for name in differences]
                raise ConfigurationError(
                    f"Dataloader {number} is another one than when the predictions in {self._request.directory} were "
                    "begun, which cannot be gone on with:\n"
                    + "\n".join(rows)
                    + "\nType --out with another directory, or "
                    "--overwrite to delete them and predict anew."
                )
        elif self._rank == 0:
            self._note(number, found)

    def _note(self, number: int, found: dict[str, Any]) -> None:
        """Write into the manifest what is known of a loader."""
        manifest = read_manifest(self._request.directory)
        assert manifest is not None
        rows = manifest["loaders"]
        rows += [{} for _ in range(number + 1 - len(rows))]
        if {**rows[number], **found} != rows[number]:
            rows[number].update(found)
            write_manifest(self._request.directory, manifest)

    # --- batches ---

    def batch_begins(self, batch: Value, number: int) -> None:
        """Take what stands beside the prediction out of the batch."""
        self._beside = (target_of(batch, self._request.target_key), key_of(batch))

    def batch_ends(
        self, prediction: Value, indices: list[int] | None, batch: Value, batch_idx: int, number: int
    ) -> None:
        """Keep a batch's prediction."""
        if number != self._running:
            self._to_loader(number)
        record = self._record(prediction, indices if self._indexed[number] else None, batch)
        record["mark"] = self._marks.pop((number, batch_idx), None)
        if self._request.file_format != "pt" and record["prediction"] is not None:
            self._check_flat(record["prediction"], record["size"])
        self._records.append(record)
        self._counts[number] += 1
        self._bytes += sum(map(bytes_of, (record["prediction"], record["target"], record["key"])))
        most, seconds = self._limits
        if self._bytes >= most or time.monotonic() - self._written_at >= seconds:
            self.flush()

    def _record(self, prediction: Value, indices: list[int] | None, batch: Value) -> Record:
        stored, (target, key) = plain(prediction), self._beside
        size = size_of(batch)
        index = None if indices is None else torch.tensor(list(indices), dtype=torch.int64)
        if index is not None and size != len(index) and (size is None or not _counts(stored, size, len(index))):
            size = len(index)  # whatever the batch's first tensor counts, the sampler knows its samples
        if size is None:
            size = size_of(stored) or 1
        if index is not None and size != len(index):
            index = None  # a collate function has left samples out: nobody knows which
        return {
            "size": size,
            "index": index,
            "prediction": stored,
            "target": target.value,
            "key": key.value,
            "mark": None,
        }

    def _check_flat(self, prediction: Plain, size: int) -> None:
        found = prediction_tables.misfit(prediction, size)
        if found is None and isinstance(prediction, torch.Tensor) and prediction.ndim == 2:
            self._width = self._width or prediction.shape[1]
            if self._width != prediction.shape[1]:
                found = f"{prediction_tables.describe(prediction)}, after one with {self._width} columns"
        if found is not None:
            raise ConfigurationError(
                f"--format {self._request.file_format} needs one number, string or vector per sample, but predict_step() has "
                f"returned, for a batch of {size}, a {found}. Type the same command with --format pt, or return the flat part "
                "alone."
            )

    def _to_loader(self, number: int) -> None:
        """All batches of earlier loaders have come."""
        self.flush()
        for finished in range(number):
            self._say_done(finished)
        self._running = number
        self._width = None
        if self._rank == 0:
            target, key = self._beside
            self._note(number, {"target": target.source, "key": key.source})

    def _say_done(self, number: int) -> None:
        predictions_directory.say_done(self._request.parts, self._counts[number], self._rank, number)

    def flush(self) -> None:
        """Write the batches that are kept in memory."""
        if self._records and self._running is not None:
            end = self._counts[self._running]
            shard = Shard(self._running, self._rank, end - len(self._records), end)
            shards.write(self._request.parts, shard, self._records)
        self._records, self._bytes, self._written_at = [], 0, time.monotonic()

    def finish(self) -> None:
        """All batches have come."""
        self.flush()
        for number in range(len(self._counts)):
            self._say_done(number)
        predictions_directory.say_done(self._request.parts, len(self._counts), self._rank)
        self._trainer.strategy.barrier("predictions are written")  # the first process joins what all have written

    def leave_no_trace(self) -> None:
        """Delete the directory's content where nothing has come of it: its first batch could not be stored, for one."""
        is_new = self._standing.manifest is None and self._processes == 1
        if is_new and not shards.found(self._request.parts):
            predictions_directory.delete_predictions(self._request.directory)

    def end(self) -> None:
        """Give back the Trainer."""
        self._undo()


def _counts(prediction: Plain, size: int, indices: int) -> bool:
    """Whether a prediction has as many samples as the batch, and not as many as the sampler has given."""
    return prediction is not None and falls_apart(prediction, size) and not falls_apart(prediction, indices)


def _length(value: Any) -> int | None:
    try:
        return len(value)
    except (TypeError, NotImplementedError):
        return None
