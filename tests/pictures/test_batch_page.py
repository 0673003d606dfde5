"""Is what people look for on a batch's page: captions, wrong ones in red, masks over images, lines, rows, the table?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_adapter.pictures import page
from lightning_adapter.pictures.batch_page import Style, draw, sections
from lightning_adapter.pictures.images import Images, pixels_of, with_mask
from lightning_adapter.pictures.predictions import Prediction
from lightning_adapter.pictures.rows import Rows
from lightning_adapter.pictures.series import Series
from lightning_adapter.pictures.table import Table

IMAGES = torch.linspace(-2, 3, 4 * 3 * 10 * 12).reshape(4, 3, 10, 12)
SCORES = torch.eye(4)[[1, 0, 2, 2]]


def page_of(batch: Any, value: Any = None, note: str = "", **style: Any) -> list[Any]:
    return sections(batch, Style(**style), None if value is None and not note else Prediction(value, note))


def captions(section: Any) -> list[list[tuple[str, bool | None]]]:
    return [[(caption.text, caption.right) for caption in lines] for lines in section.captions]


def test_images_have_targets_and_predictions_below_with_wrong_ones_marked() -> None:
    images, table = page_of((IMAGES, torch.tensor([1, 3, 2, 2])), SCORES)
    assert isinstance(images, Images)
    assert images.title == ["batch[0]", "values from -2 to 3, rescaled to be shown"]
    assert captions(images)[:2] == [[("target 1", None), ("pred 1", True)], [("target 3", None), ("pred 0", False)]]
    assert [facts[:3] for facts in table.facts] == [
        ("batch[0]", "float32", "[4, 3, 10, 12]"),
        ("batch[1]", "int64", "[4]"),
        ("prediction", "float32", "[4, 4]"),
    ]


def test_classes_are_named_where_names_are_known_and_at_most_so_many_samples_drawn() -> None:
    images, _ = page_of((IMAGES, torch.tensor([1, 0, 7, 2])), SCORES, classes=["cat", "dog", "cow"], samples=3)
    assert captions(images) == [
        [("target dog", None), ("pred dog", True)],
        [("target cat", None), ("pred cat", True)],
        [("target 7", None), ("pred cow", False)],
    ]


def test_values_that_are_predicted_are_not_called_wrong() -> None:
    images, _ = page_of((IMAGES, torch.tensor([[0.5], [1.5], [2.0], [0.25]])), torch.full((4, 1), 0.5))
    assert captions(images)[1] == [("target 1.5", None), ("pred 0.5", None)]


def test_several_classes_of_a_sample_are_named() -> None:
    images, _ = page_of((IMAGES, torch.tensor([[1, 0, 1]] * 4)), torch.tensor([[2.0, -1.0, 1.0]] * 3 + [[-1.0] * 3]))
    assert captions(images)[2:] == [
        [("target 0, 2", None), ("pred 0, 2", True)],
        [("target 0, 2", None), ("pred none", False)],
    ]


def test_masks_lie_over_images_beside_them() -> None:
    mask = torch.zeros(4, 10, 12, dtype=torch.int64)
    mask[:, :5], mask[:, 9] = 1, 255  # nobody has to predict the last line
    scores = torch.zeros(4, 2, 10, 12)
    scores[:, 1, :4] = 1
    batch = {"image": IMAGES, "mask": mask, "name": ["a", "b", "c", "d"]}
    images, _ = page_of(batch, scores, classes=["ground", "disc"])
    assert images.title[0] == 'batch["image"] | batch["mask"] over it | prediction over it'
    assert [len(pictures) for pictures in images.samples] == [3] * 4
    plain, target, guess = images.samples[0]
    assert (plain != target).any(-1)[:5].all()
    assert not (plain != target).any(-1)[5:9].any()
    assert (plain != guess).any(-1)[:4].all()
    assert not (plain != guess).any(-1)[4:].any()
    assert captions(images)[3] == [("11.1% of the pixels wrong", None), ("name d", None)]
    assert images.legend == {1: "1 disc"}
    # a class has one colour, whatever is below it
    assert (
        with_mask(np.full((1, 1, 3), (0, 60, 0), np.uint8), np.ones((1, 1))).tolist()
        == with_mask(np.full((1, 1, 3), (60, 0, 0), np.uint8), np.ones((1, 1))).tolist()
    )


def test_a_mask_of_another_size_is_not_laid_over() -> None:
    images, _ = page_of({"image": IMAGES, "mask": torch.zeros(4, 20, 20, dtype=torch.int64)})
    assert images.title[0] == 'batch["image"]'


def test_an_image_that_is_predicted_is_shown_on_the_scale_of_what_was_given() -> None:
    images, _ = page_of(IMAGES, IMAGES / 2)
    plain, guess = images.samples[0]
    assert plain[0, 0, 0] == 0  # the lowest value of the batch, and half of it
    assert guess[0, 0, 0] == round(1 / 5 * 255)


def test_views_of_one_sample_stand_beside_each_other() -> None:
    images, _ = page_of(([IMAGES, IMAGES + 1], torch.arange(4)))
    assert images.title[0] == "batch[0][0] | batch[0][1]"
    assert [len(pictures) for pictures in images.samples] == [2] * 4
    assert captions(images)[3] == [("target 3", None)]


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_series_is_continued_by_its_target_and_the_prediction(channels_last: bool) -> None:
    past, future = torch.rand(3, 2, 48), torch.rand(3, 2, 12)
    batch = (past, future)
    guess = future + 1
    if channels_last:
        batch, guess = (past.mT, future.mT), guess.mT
    series, _ = page_of(batch, guess)
    assert isinstance(series, Series)
    assert series.title == ["batch[0], batch[1] in green, prediction in red"]
    assert [values.shape for values in (series.values, series.target, series.prediction)] == [
        (3, 48, 2), (3, 12, 2), (3, 12, 2),
    ]  # fmt: skip
    assert np.allclose(series.prediction, series.target + 1)


def test_a_series_has_its_class_in_the_caption() -> None:
    series, _ = page_of({"signal": torch.rand(2, 50), "label": torch.tensor([0, 1])}, SCORES[:2, :3])
    assert captions(series)[1] == [("sample 1", None), ("target 1", None), ("pred 0", False)]


def test_token_ids_are_rows_with_wrong_ones_marked_and_their_text_below() -> None:
    ids = torch.arange(12).reshape(2, 6)
    scores = torch.nn.functional.one_hot(ids + 1, 14).float()
    scores[1, 2] = scores[1, 1]
    inputs, target, guess, _ = page_of(
        (ids, ids + 1), scores.reshape(12, 14), decode=lambda row: " ".join(f"w{i}" for i in row)
    )
    assert [section.title[0] for section in (inputs, target)] == ["batch[0]", "batch[1]"]
    assert [list(row.words) for row in inputs.rows] == [
        ["0 |", *(f" {i}" for i in range(6))], ["   ", "w0 w1 w2 w3 w4 w5"],
        ["1 |", " 6", " 7", " 8", " 9", "10", "11"], ["   ", "w6 w7 w8 w9 w10 w11"],
    ]  # fmt: skip
    assert [sorted(row.wrong) for row in guess.rows] == [[], [], [3], []]


def test_few_numbers_are_rows_with_the_target_behind() -> None:
    rows, _ = page_of((torch.eye(2, 5), torch.tensor([1, 0])), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert isinstance(rows, Rows)
    assert [list(row.words)[-3:] for row in rows.rows] == [["|", "target 1", "pred 1"], ["|", "target 0", "pred 1"]]
    assert [sorted(row.wrong) for row in rows.rows] == [[], [8]]


def test_values_of_another_length_are_in_the_table_alone() -> None:
    batch = {"image": IMAGES, "label": torch.arange(4), "one": IMAGES[:1], "weights": torch.rand(9), "name": ["a"] * 2}
    images, table = page_of(batch, IMAGES[:1])
    assert images.title[0] == 'batch["image"]'
    assert captions(images)[3] == [("target 3", None)]
    assert len(table.facts) == 6


def test_text_is_drawn_as_rows() -> None:
    (rows, _) = page_of(["a cat\n sat", "two"])
    assert [list(row.words) for row in rows.rows] == [["0 |", "a cat sat"], ["1 |", "two"]]


def test_everything_else_is_in_the_table() -> None:
    odd = (
        torch.rand(4, 64, 7, 7),
        None,
        {"x": 3, "t": torch.tensor([1.0, float("nan"), float("inf"), 2.0])},
        torch.empty(0, 3),
    )
    *_, table = page_of(odd)
    assert isinstance(table, Table)
    assert [(facts.name, facts.type, facts.shape) for facts in table.facts] == [
        ("batch[0]", "float32", "[4, 64, 7, 7]"), ("batch[1]", "NoneType", "None"), ("batch[3]", "float32", "[0, 3]"),
        ('batch[2]["x"]', "int", "3"), ('batch[2]["t"]', "float32", "[4]"),
    ]  # fmt: skip
    assert table.facts[-1][3:] == ("1", "2", "1.5", "1 NaN, 1 infinite")


def test_that_there_is_no_prediction_is_said() -> None:
    *_, table = page_of((IMAGES, torch.arange(4)), note="no predictions: ValueError: no")
    assert table.title == ["All values · no predictions: ValueError: no"]
    *_, table = page_of({"a": (IMAGES, torch.arange(4)), "b": (IMAGES, torch.arange(4))}, SCORES)
    assert table.title == ["All values · the prediction is not drawn, since the batch is nested"]


def test_pixels_are_stretched_only_where_they_are_no_picture_yet() -> None:
    bytes_ = np.array([[[10, 20], [30, 40]]], dtype=np.uint8)
    assert pixels_of([bytes_])[0][0][..., 0].tolist() == [[10, 20], [30, 40]]
    assert pixels_of([bytes_ / 40])[0][0][..., 0].tolist() == [[64, 128], [191, 255]]
    assert pixels_of([bytes_ / 10.0])[0][0][..., 0].tolist() == [[0, 85], [170, 255]]
    pixels, words = pixels_of([np.array([[0.5, np.nan], [np.inf, 1.0]])])
    assert pixels[0].tolist() == [[[128] * 3, [255, 0, 255]], [[255, 0, 255], [255] * 3]]
    assert words == "values from 0.5 to 1, shown as they are; what is not finite is magenta"


def test_a_mask_leaves_class_0_and_makes_what_has_no_class_white() -> None:
    shown = with_mask(np.zeros((1, 4, 3), np.uint8), np.array([[0, 1, 255, -1]]))
    assert shown[0, 0].tolist() == [0, 0, 0]
    assert shown[0, 2].tolist() == shown[0, 3].tolist() == [140, 140, 140]
    assert shown[0, 1].tolist() not in ([0, 0, 0], [140, 140, 140])


def test_page_shows_the_images_as_they_are_and_wrong_captions_in_red() -> None:
    bytes_ = np.zeros((2, 16, 16, 3), np.uint8)
    bytes_[..., 2] = 250
    batch = (bytes_, torch.tensor([1, 0]))
    right = draw(batch, "title", Style(), Prediction(torch.tensor([1, 0])))
    wrong = draw(batch, "title", Style(), Prediction(torch.tensor([1, 1])))
    assert right.dtype == np.uint8
    assert right.shape[1:] == (page.WIDTH, 3)
    assert (right == (0, 0, 250)).all(-1).sum() == 2 * 176**2  # enlarged eleven times
    red = [(picture.astype(int)[..., 0] - picture[..., 1] > 100).sum() for picture in (right, wrong)]
    assert red[0] == 0 < red[1]


def test_drawing_draws_no_random_number() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    draw((IMAGES, torch.rand(4, 30, generator=torch.Generator()), ["a"] * 4), "title", Style())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_a_picture_replaces_an_earlier_one_and_no_other_file(tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    place = tmp_path / "deep" / "a.png"
    assert page.write(pixels, place) == place
    assert page.write(pixels + 9, place) == place
    assert np.asarray(Image.open(place))[..., :3].tolist() == (pixels + 9).tolist()
    Image.fromarray(pixels).save(place)  # somebody else's
    theirs = place.read_bytes()
    second = place.with_name("a-2.png")
    assert [page.write(pixels, place), page.write(pixels, place)] == [second, second]
    assert place.read_bytes() == theirs
    assert sorted(path.name for path in place.parent.iterdir()) == ["a-2.png", "a.png"]
