"""A dataclass of hyperparameters is checked, filled with its defaults, and told of in words."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from dataclasses import MISSING, InitVar, dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Optional

import pydantic
import pytest
import torch

from lightning_adapter.configs import typed
from lightning_adapter.errors import ConfigurationError


class Color(enum.Enum):
    RED = 1
    BLUE = 2
    GREEN = (1, 2)


class Name(str, enum.Enum):
    ADAM = "adam"
    SGD = "sgd"


@dataclass
class Optim:
    lr: float = 0.1  # the step size
    color: Color = Color.RED
    betas: tuple[float, float] = (0.9, 0.99)
    """Of both moments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    width: int
    # how the first one steps
    optim: Optim = field(default_factory=Optim)
    other: Optim = field(default_factory=lambda: Optim(lr=3, color=Color.GREEN))
    third: Optional[Optim] = None  # noqa: UP045
    path: Path = Path("data")
    kind: Literal["a", "b"] = "a"
    name: Name = field(default=Name.ADAM, metadata={"help": "of the\n optimizer"})
    sizes: list[int] | int = 1
    groups: dict[str, Optim] = field(default_factory=dict)
    nothing: int = None  # type: ignore[assignment]
    limit: float = math.inf
    function: Callable[[float], float] = math.sin
    letters: set[str] = field(default_factory=lambda: {"b", "a"})
    made: int = field(default=0, init=False)
    scale: InitVar[int] = 2

    def __post_init__(self, scale: int) -> None:
        if scale > 5:
            raise ValueError("scale has to be at most 5")
        object.__setattr__(self, "made", self.width * scale)


def trial(structure: object) -> type:
    return type("Trial", (), {"Hyperparameters": structure})


Trial = trial(Config)


def test_plain_values_become_the_typed_ones() -> None:
    made = typed.instance(
        Trial,
        {
            "width": 3,
            "optim": {"lr": 1, "color": "GREEN", "betas": [1, 2]},
            "third": {"color": 1},
            "path": "x/y",
            "kind": "b",
            "name": "SGD",
            "sizes": [1, 2],
            "groups": {"one": {"color": [1, 2]}},
            "letters": ["c"],
            "scale": 4,
            "global_batch_size": 8,
        },
    )
    assert made == dataclasses.replace(
        Config(width=3, scale=4),
        optim=Optim(1.0, Color.GREEN, (1.0, 2.0)),
        third=Optim(),
        path=Path("x/y"),
        kind="b",
        name=Name.SGD,
        sizes=[1, 2],
        groups={"one": Optim(color=Color.GREEN)},
        letters={"c"},
        scale=4,
    )
    assert (type(made.optim.lr), made.made, made.limit, made.function) == (float, 12, math.inf, math.sin)


def test_defaults_are_what_they_are_whatever_their_annotation_says() -> None:
    completed = typed.completed(Trial, {"width": 3})
    assert typed.instance(Trial, completed) == Config(width=3)
    assert "limit" not in completed and "function" not in completed and "made" not in completed
    assert completed["other"] == {"lr": 3, "color": "GREEN", "betas": [0.9, 0.99]}
    assert completed["letters"] == ["a", "b"] and completed["scale"] == 2 and completed["nothing"] is None


def test_group_given_in_part_keeps_the_rest_of_its_own_default() -> None:
    assert typed.instance(Trial, {"width": 3, "other": {"betas": [0, 1]}}).other == Optim(3, Color.GREEN, (0.0, 1.0))


def test_all_faults_are_one_message() -> None:
    with pytest.raises(ConfigurationError) as raised:
        typed.instance(
            Trial,
            {
                "optim": {"lr": "0.1", "lrr": 1, "betas": [1]},
                "third": 3,
                "kind": "c",
                "name": "adm",
                "sizes": "z",
                "groups": {"one": {"lr": True}},
                "made": 3,
                "nothing": 2.0,
                "lr": 1,
            },
        )
    assert str(raised.value).splitlines() == [
        "Trial.Hyperparameters (Config) has 12 faults:",
        "  - width is missing, which has no default; give a value of the type int",
        "  - optim.lr is the text '0.1', but must be a number; write 0.1, without quotes (default: 0.1)",
        "  - optim.betas.1 is missing (default: [0.9, 0.99])",
        "  - optim.lrr is 1, but there is no hyperparameter of this name; did you mean 'optim.lr'?",
        "  - third is 3, but must be a group of names and values (default: None)",
        "  - kind is the text 'c', but must be 'a' or 'b' (default: 'a')",
        "  - name is the text 'adm', but must be one of ADAM, SGD; did you mean 'adam'? (default: 'adam')",
        "  - sizes is the text 'z', but must be a list or a whole number (default: 1)",
        "  - groups.one.lr is True, but must be a number (default: {})",
        "  - nothing is 2.0, but must be a whole number; write 2 (default: None)",
        "  - made is 3, but there is no hyperparameter of this name (there are: width, optim, other, third, path, kind, name, "
        "sizes, ...)",
        "  - lr is 1, but there is no hyperparameter of this name; did you mean 'optim.lr' or 'other.lr'?",
    ]


def test_what_the_class_refuses_is_told_in_its_words() -> None:
    with pytest.raises(ConfigurationError, match="Config refuses its values: scale has to be at most 5"):
        typed.instance(Trial, {"width": 1, "scale": 6})


def test_fields_have_type_default_and_comment() -> None:
    fields = {name: rest for name, *rest in typed.fields_of(Trial)}
    assert fields["width"] == ["int", MISSING, ""]
    assert fields["optim.lr"] == ["float", 0.1, "the step size"]
    assert fields["optim.betas"] == ["tuple[float, float]", [0.9, 0.99], "Of both moments."]
    assert fields["other.lr"][1] == 3
    assert fields["third"] == ["Optim | None", None, ""]
    assert fields["kind"][0] == "'a' | 'b'"
    assert fields["name"] == ["ADAM | SGD", "adam", "of the optimizer"]
    assert fields["limit"][1] == typed.NotPlain("inf")
    assert fields["scale"] == ["int", 2, ""]
    assert "made" not in fields


def test_differences_are_those_from_the_defaults() -> None:
    given = {"width": 1, "optim": {"lr": 0.2, "color": 1}, "other": {"lr": 3.0}, "name": "ADAM"}
    assert typed.differences(Trial, typed.completed(Trial, given)) == {"width": 1, "optim.lr": 0.2}


def test_pydantic_classes_are_taken_too_and_checked_as_strictly() -> None:
    class Inner(pydantic.BaseModel):
        size: int = pydantic.Field(3, ge=1, description="how large")

    class Model(pydantic.BaseModel):
        inner: Inner = Inner()
        lr: float
        color: Color = Color.RED

    of_model = trial(Model)
    assert typed.fields_of(of_model)[0] == ("inner.size", "int", 3, "how large")
    assert typed.instance(of_model, {"lr": 1}) == Model(lr=1)
    assert typed.instance(of_model, {"lr": 1, "color": "BLUE"}) == Model(lr=1, color=Color.BLUE)
    assert typed.given(of_model, Model(lr=1)) == {"inner": {"size": 3}, "lr": 1.0, "color": "RED"}
    with pytest.raises(ConfigurationError, match="greater than or equal to 1") as raised:
        typed.instance(of_model, {"lr": "1", "inner": {"size": 0, "sise": 1}})
    assert "did you mean 'inner.size'?" in str(raised.value) and "lr is the text '1'" in str(raised.value)


# --- misuse ---


class NoDataclass:
    lr: float = 0.1


class NotDecorated(Optim):
    decay: float = 0.1


@dataclass
class Unknown:
    lr: Missing = 0.1  # type: ignore[name-defined]  # noqa: F821


class Adam(Optim):
    pass


@dataclass
class AdamW(Optim):
    decay: float = 0.1


@dataclass
class Derived:
    optim: Optim = field(default_factory=AdamW)


@dataclass
class Opaque:
    limit: float
    width: int = 1


@dataclass
class OfOpaque:
    inner: Opaque = field(default_factory=lambda: Opaque(math.inf))


@pytest.mark.parametrize(
    ("structure", "told"),
    [
        (Optim(), "Trial.Hyperparameters is Optim.*, an instance; write the class: Trial.Hyperparameters = Optim"),
        ({"lr": 0.1}, r"is {'lr': 0.1}, and has to be a dataclass"),
        (NoDataclass, "is NoDataclass, which is no dataclass: write `@dataclass` above `class NoDataclass`"),
        (NotDecorated, "so that decay would be no hyperparameter: write `@dataclass` above `class NotDecorated`"),
        (Unknown, "An annotation of Unknown cannot be resolved .NameError: name 'Missing' is not defined."),
    ],
)
def test_what_is_no_dataclass_is_refused(structure: object, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        typed.completed(trial(structure), {})


def test_class_that_adds_nothing_to_a_dataclass_is_one() -> None:
    assert type(typed.instance(trial(Adam), {"lr": 1})) is Adam


def test_group_has_the_fields_of_its_defaults_class() -> None:
    of = trial(Derived)
    assert [each.name for each in typed.fields_of(of)][-1] == "optim.decay"
    assert typed.instance(of, {}) == Derived()
    made = typed.instance(of, {"optim": {"lr": 1, "decay": 0}})
    assert made == Derived(AdamW(1, decay=0)) and type(made.optim) is AdamW
    with pytest.raises(ConfigurationError, match=r"optim.decay is the text 'a', but must be a number .*default: 0.1"):
        typed.instance(of, {"optim": {"decay": "a"}})


@dataclass
class Two:
    first: Derived = field(default_factory=lambda: Derived(Optim(lr=5)))
    second: OfOptim = field(default_factory=lambda: OfOptim(Optim(lr=5)))


@dataclass
class OfOptim:
    optim: Optim = field(default_factory=Optim)


def test_default_of_a_groups_group_is_that_of_the_outermost() -> None:
    of = trial(Two)
    assert typed.completed(of, {})["second"] == {"optim": {"lr": 5, "color": "RED", "betas": [0.9, 0.99]}}
    assert typed.instance(of, {"second": {"optim": {"color": "GREEN"}}}).second.optim == Optim(5, Color.GREEN)
    assert typed.instance(of, {}) == Two()
    with pytest.raises(ConfigurationError, match=r"first.optim is given, .* make Optim the field's own default"):
        typed.instance(of, {"first": {"optim": {"lr": 1}}})


@dataclass
class Database:
    port: int = "???"  # type: ignore[assignment]  # OmegaConf's MISSING
    host: str = "localhost"


@dataclass
class OfDatabase:
    db: Database = field(default_factory=Database)


def test_omegaconfs_missing_has_to_be_given() -> None:
    of = trial(OfDatabase)
    assert typed.fields_of(of)[0] == ("db.port", "int", MISSING, "OmegaConf's MISSING")
    assert typed.instance(of, {"db": {"port": 1}}) == OfDatabase(Database(1))
    with pytest.raises(ConfigurationError, match=r"db.port is missing, which has no default"):
        typed.instance(of, {})


@dataclass
class Choices:
    one: Optim | AdamW = field(default_factory=Optim)
    kind: torch.dtype = torch.float32


def test_union_of_dataclasses_is_the_one_that_the_names_fit() -> None:
    of = trial(Choices)
    assert typed.instance(of, {"one": {"decay": 1}}) == Choices(AdamW(decay=1.0))
    with pytest.raises(ConfigurationError) as raised:
        typed.instance(of, {"one": {"decay": "a"}})
    told = "Trial.Hyperparameters (Choices): one.decay is the text 'a', but must be a number"
    assert str(raised.value).startswith(told + " (default")


def test_object_that_no_yaml_holds_is_left_to_its_default() -> None:
    of = trial(Choices)
    with pytest.raises(
        ConfigurationError, match=r"kind is the text 'float16', but must be left to its default, since no"
    ):
        typed.instance(of, {"kind": "float16"})
    assert typed.given(of, Choices(Optim(2))) == {"one": {"lr": 2, "color": "RED", "betas": [0.9, 0.99]}}
    with pytest.raises(ConfigurationError, match=r"it would have kind=torch.float32 in place of torch.float16"):
        typed.given(of, Choices(kind=torch.float16))


@dataclass
class Aliased:
    lr: float = field(default=0.1, metadata={"alias": ["-l"], "help": "the step size"})
    named: int = field(default=1, metadata={"alias": "other"})
    needed: int = field(kw_only=True, metadata={"alias": "asked"})


def test_names_are_those_of_the_fields_whatever_their_metadata_says() -> None:
    of = trial(Aliased)
    assert typed.instance(of, {"lr": 1, "named": 2, "needed": 3}) == Aliased(1, 2, needed=3)
    with pytest.raises(ConfigurationError, match="named is the text 'x'") as raised:
        typed.instance(of, {"named": "x"})
    assert "needed is missing" in str(raised.value)


def test_group_given_in_part_needs_defaults_that_can_be_written() -> None:
    of = trial(OfOpaque)
    assert typed.instance(of, {}) == OfOpaque()
    with pytest.raises(ConfigurationError, match=r"inner.limit is inf .* inner cannot be given in part"):
        typed.completed(of, {"inner": {"width": 2}})


def test_type_that_nothing_can_check_is_told() -> None:
    @dataclass
    class Strange:
        text: Annotated[str, pydantic.Field(pattern="(")] = ""

    with pytest.raises(ConfigurationError, match=r"The types of Strange cannot be checked: .*unclosed group"):
        typed.instance(trial(Strange), {"text": "a"})
