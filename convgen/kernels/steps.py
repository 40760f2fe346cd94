"""What every kernel of a network's step shows to the renderer, beside convolutions."""

from __future__ import annotations

from typing import Protocol

from convgen.kernels.face import activation_operations
from convgen.spec.model import Activation, ConvSpec


class StepBody(Protocol):
    """A kernel with every number decided. Two steps with equal bodies share one function.

    Its template's macro ``kernel(name, k, isa, act)`` prints a function that takes the arrays in
    order (inputs, then y), ``part`` and ``parts``. Kernels of floats are printed for vectors and
    for plain C; others once.
    """

    @property
    def template(self) -> str: ...

    @property
    def types(self) -> tuple[str, ...]:
        """C types of the arrays' elements: the inputs', then y's."""
        ...

    @property
    def act(self) -> Activation | None:
        """What outputs go through, where vectors do it."""
        ...

    @property
    def words(self) -> str: ...


def is_vector(body: StepBody) -> bool:
    """Whether the template prints vector operations (``operations`` says which)."""
    return hasattr(body, "operations")


def functions_of(body: StepBody) -> tuple[str, ...]:
    """Vector functions that the template calls, by name."""
    found: tuple[str, ...] = getattr(body, "functions", ())
    return found


def act_operations(act: Activation) -> tuple[str, ...]:
    """Vector operations that an activation of floats calls."""
    return activation_operations(ConvSpec("any", 1, 1, 1, 1, 1, 1, activation=act))
