"""What state are the random generators of this process in, and how is it saved and restored?"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypedDict, cast

import numpy as np
import numpy.typing as npt
import torch

from lightning_adapter.data.generators import Generator, get_state, set_state
from lightning_adapter.errors import CheckpointError

_NumpyState: TypeAlias = tuple[str, npt.NDArray[np.uint32], int, int, float]
_PythonState: TypeAlias = tuple[int, tuple[int, ...], float | None]


class RandomStateDict(TypedDict):
    """A random state as a checkpoint holds it: tensors, numbers and strings.

    Attributes:
        torch: state of torch's global generator on the CPU.
        numpy: name of the bit generator, its keys, its position, and the second half of a pair of normal numbers.
        python: version of the format, the state, and the second half of a pair of normal numbers.
        generators: states of generators of the user's, a tensor for each of torch's.
    """

    torch: torch.Tensor
    numpy: tuple[str, torch.Tensor, int, int, float]
    python: tuple[int, torch.Tensor, float | None]
    generators: list[Any]


class RandomState:
    """State of the CPU generators of torch, numpy and python at one moment, and of some generators of the user's.

    Taking it copies a few kilobytes; it is turned into types that a restricted loader accepts when it is saved.
    """

    def __init__(
        self,
        in_torch: torch.Tensor,
        in_numpy: _NumpyState,
        in_python: _PythonState,
        generators: list[Any],
    ) -> None:
        self._in_torch = in_torch
        self._in_numpy = in_numpy
        self._in_python = in_python
        self._generators = generators
        self._numbers: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def now(cls, generators: Iterable[Generator] = ()) -> RandomState:
        """The present state."""
        return cls(
            torch.get_rng_state(),
            cast(_NumpyState, np.random.get_state()),
            cast(_PythonState, random.getstate()),
            [get_state(generator) for generator in generators],
        )

    def is_now(self) -> bool:
        """Whether nothing was drawn since from the generators of torch, numpy and python."""
        name, keys, *rest = self._in_numpy
        present, there, *now = cast(_NumpyState, np.random.get_state())
        return (
            torch.equal(self._in_torch, torch.get_rng_state())
            and (name, rest) == (present, now)
            and np.array_equal(keys, there)
            and self._in_python == random.getstate()
        )

    def restore(self, generators: Iterable[Generator] = ()) -> None:
        """Continue the generators from here.

        Raises:
            CheckpointError: this is no state of theirs.
        """
        try:
            torch.set_rng_state(self._in_torch)
            np.random.set_state(self._in_numpy)
            random.setstate(self._in_python)
            for generator, state in zip(generators, self._generators, strict=False):
                set_state(generator, state)
        except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise CheckpointError(
                f"The checkpoint's random state is none: {error}. Use another checkpoint, or warm_start_from, which takes "
                "the weights alone."
            ) from error

    def state_dict(self) -> RandomStateDict:
        """The state in types that a restricted loader accepts."""
        name, keys, position, has_gauss, gauss = self._in_numpy
        version, internal, gauss_next = self._in_python
        if self._numbers is None:  # the checkpoints of an epoch hold what its draws started from, all of them
            # by way of numpy, since torch looks at each of the 625 numbers on its own
            self._numbers = torch.from_numpy(keys.astype(np.int64)), torch.from_numpy(np.array(internal, np.int64))
        in_numpy, in_python = self._numbers
        return {
            "torch": self._in_torch,
            "numpy": (name, in_numpy, int(position), int(has_gauss), float(gauss)),
            "python": (version, in_python, gauss_next),
            "generators": self._generators,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> RandomState:
        """What `state_dict` was made from."""
        name, keys, position, has_gauss, gauss = state["numpy"]
        version, internal, gauss_next = state["python"]
        return cls(
            state["torch"],
            (name, keys.numpy().astype(np.uint32), position, has_gauss, gauss),
            (version, tuple(internal.tolist()), gauss_next),
            state["generators"],
        )
