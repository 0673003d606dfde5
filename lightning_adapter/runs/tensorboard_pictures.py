"""How does what was logged to TensorBoard look: scalars as curves, each tag's images in a grid over its steps?"""

from __future__ import annotations

import contextlib
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import curves, event_files, picture_file
from lightning_adapter.runs.event_files import Images, Logged, Pixels
from lightning_adapter.runs.listing import Run
from lightning_adapter.runs.metrics_table import Points, plain

_SCALARS = "scalars.png"
_ACROSS = 4
#: Tags whose images are drawn; of a run that has logged more of them nobody would look at all.
_MOST_TAGS = 100


class Drawn(NamedTuple):
    """What there is now.

    Attributes:
        paths: the pictures.
        remarks: what is not in them, and why.
    """

    paths: list[pathlib.Path]
    remarks: list[str]


def draw(run: Run) -> Drawn:
    """Draw into `pictures/` of a run.

    Args:
        run: of which the event files in its own `tensorboard/`, and those of its loggers, are read.

    Raises:
        ConfigurationError: a picture would replace a file of somebody else's, or cannot be written.
    """
    folder = run.path / "pictures"
    points: Points = {}
    paths: list[pathlib.Path] = []
    remarks: list[str] = []
    count = 0
    for name, place in _places(run):
        logged = event_files.read(place)
        remarks += [f"damaged from some byte on, and read up to there: {text}" for text in logged.damaged]
        _collect(points, name, logged)
        for tag, images in logged.images.items():
            count += 1
            if count <= _MOST_TAGS:
                names = [_SCALARS, *(path.name for path in paths)]
                paths.append(folder / picture_file.free_name(f"{name}/{tag}" if name else tag, names))
                with _writing(paths[-1]):
                    _save_grid(paths[-1], tag, images)
    if count > _MOST_TAGS:
        remarks.append(f"images of {_MOST_TAGS} tags are drawn, and there are {count}")
    if points:
        paths.insert(0, folder / _SCALARS)
        with _writing(paths[0]):
            curves.draw(points, paths[0], "TensorBoard", "steps")
    return Drawn(paths, remarks)


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    picture_file.check_replaceable(path)
    try:
        path.parent.mkdir(exist_ok=True)
        yield
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error}") from error


def _places(run: Run) -> Iterator[tuple[str, pathlib.Path]]:
    """Where event files lie, each folder once, with a name for what is logged there; none for the run's own folder."""
    seen = set()
    for root in _roots(run):
        for place in event_files.folders_below(root):
            if place.resolve() not in seen:
                seen.add(place.resolve())
                name = place.relative_to(root).as_posix()
                yield "" if name == "." else name, place


def _roots(run: Run) -> Iterator[pathlib.Path]:
    yield run.path / "tensorboard"
    working = pathlib.Path(run.record.get("working_directory") or ".")
    for logger in run.record.get("loggers") or []:
        if isinstance(logger, Mapping) and "TensorBoard" in str(logger.get("class")) and logger.get("save_dir"):
            version = logger.get("version")
            parts = [logger.get("name") or "", f"version_{version}" if isinstance(version, int) else version or ""]
            yield working.joinpath(str(logger["save_dir"]), *map(str, parts))


def _collect(points: Points, name: str, logged: Logged) -> None:
    for tag, scalars in logged.scalars.items():
        # Lightning logs the epoch's number beside each value, and where hyperparameters have no metric -1 for one
        is_filler = tag == "epoch" or (tag == "hp_metric" and set(scalars.values) == {-1})
        key = (name, plain(tag))
        if not is_filler and key not in points:
            points[key] = (scalars.steps, scalars.values)


def _save_grid(path: pathlib.Path, tag: str, images: Images) -> None:
    chosen = images.chosen()
    with picture_file.drawing():
        picture_file.save(_grid(tag, chosen, images.count), path)


def _grid(tag: str, chosen: Sequence[tuple[int, Pixels]], count: int) -> Figure:
    columns = min(_ACROSS, len(chosen))
    lines = math.ceil(len(chosen) / columns)
    tall = max(pixels.shape[0] / pixels.shape[1] for _, pixels in chosen)
    cell = 3.0 * min(max(tall, 0.3), 2.0) + 0.3
    figure = Figure(figsize=(max(3.0 * columns, 4.0), cell * lines + 0.4), dpi=100)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.01, top=1 - 0.65 / (cell * lines + 0.4), wspace=0.04, hspace=0.12
    )
    for index, (step, pixels) in enumerate(chosen):
        axes = figure.add_subplot(lines, columns, index + 1)
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(f"step {step}", fontsize=8, pad=3)
        axes.set_axis_off()
    some = "" if len(chosen) == count else f", {len(chosen)} of {count} steps"
    name = plain(tag)
    figure.suptitle(
        f"{name if len(name) <= 60 else f'{name[:59]}…'}{some}", fontsize=10, y=1 - 0.1 / (cell * lines + 0.4)
    )
    return figure
