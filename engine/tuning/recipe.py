"""Which type each tensor of a converted file has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.tuning.tensors import OUTPUT_ROLE, fits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from engine.tuning.tensors import Tensor

_SUBSTITUTE: Final = "q8_0"
"""What a row gets that is no whole number of a type's blocks; the smallest block there is."""
_MOST_SUBSTITUTES: Final = 0.3
"""Share of the weights beyond which a file is no longer of the type that it is named after."""
_UNQUANTIZED: Final = frozenset({"f32", "f16", "bf16", "f64", "i8", "i16", "i32", "i64"})
_OUTPUT_TYPE: Final = "q8_0"
"""The last product is a sensitive one, and for this type there are fast kernels everywhere."""
_LARGE_OUTPUT: Final = 0.1
"""Share of the weights from which the output is worth a file of its own."""
FILE_TYPES: Final = ("q8_0", "q4_0", "q4_K", "q6_K", "q5_K", "iq4_nl")
"""Types for which llama.cpp has fast kernels on one processor or another: it repacks them, or multiplies
them in blocks. The first is the most precise one, and the last takes longest to convert to; those with blocks
of 256 do not fit every model."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done to the tensors of each role; a role that is not named keeps the types it has."""

    name: str
    types: Mapping[str, str] = field(default_factory=dict)

    def type_of(self, tensor: Tensor) -> str:
        """Return the type that a tensor gets."""
        kind = self.types.get(tensor.role or "")
        if kind is None or kind == tensor.type:
            return tensor.type
        if fits(kind, tensor.shape[0]):
            return kind
        return _SUBSTITUTE if fits(_SUBSTITUTE, tensor.shape[0]) else tensor.type

    def changes(self, tensors: Iterable[Tensor]) -> dict[str, str]:
        """Return the new types of those tensors that get one, by name."""
        new = ((tensor, self.type_of(tensor)) for tensor in tensors)
        return {tensor.name: kind for tensor, kind in new if kind != tensor.type}

    def main_type(self, tensors: Iterable[Tensor]) -> str:
        """Return the quantized type that most of the weights have, ``q8_0`` if none has one."""
        counts: dict[str, int] = {}
        for tensor in tensors:
            if (kind := self.type_of(tensor)) not in _UNQUANTIZED:
                counts[kind] = counts.get(kind, 0) + tensor.n_values
        return max(counts, key=counts.__getitem__, default=_SUBSTITUTE)

    def n_bytes(self, tensors: Iterable[Tensor]) -> int:
        """Return the size of all tensors as this recipe has them."""
        return sum(tensor.bytes_as(self.type_of(tensor)) for tensor in tensors)


AS_IT_IS: Final = Recipe("as it is")
"""The file that there is."""


def uniform_recipes(tensors: Sequence[Tensor]) -> list[Recipe]:
    """Return a recipe for each file type that the model can have, the most promising first.

    The layers get the type, and the output Q8_0. One recipe converts the output alone. What too few rows
    fit, or what changes nothing, is left out.
    """
    recipes = [_uniform(kind, tensors) for kind in FILE_TYPES]
    if groups(tensors).get(OUTPUT_ROLE, 0.0) >= _LARGE_OUTPUT:
        recipes.insert(1, _converting(alone(_OUTPUT_TYPE, OUTPUT_ROLE), tensors))
    return [recipe for recipe in recipes if recipe is not None]


def groups(tensors: Iterable[Tensor]) -> dict[str, float]:
    """Return the share of the weights that each role has, of those that can be converted."""
    weights: dict[str, int] = {}
    for tensor in tensors:
        if tensor.role is not None:
            weights[tensor.role] = weights.get(tensor.role, 0) + tensor.n_values
    total = sum(weights.values())
    return {role: count / total for role, count in weights.items()}


def alone(kind: str, role: str) -> Recipe:
    """Return the recipe that converts the tensors of one role, to see what that alone costs."""
    return Recipe(f"{kind.upper()} {role}", {role: kind})


def mix(base: Recipe, kind: str, roles: Iterable[str]) -> Recipe:
    """Return a recipe with some roles in another type."""
    chosen = sorted(roles)
    return Recipe(
        f"{base.name} + {kind.upper()} {', '.join(chosen)}", {**base.types, **dict.fromkeys(chosen, kind)}
    )


def _uniform(kind: str, tensors: Sequence[Tensor]) -> Recipe | None:
    types = dict.fromkeys(groups(tensors), kind)
    if OUTPUT_ROLE in types:
        types[OUTPUT_ROLE] = _OUTPUT_TYPE
    recipe = Recipe(kind.upper(), types)
    layers = [tensor for tensor in tensors if tensor.role not in (None, OUTPUT_ROLE)]
    converted = sum(tensor.n_values for tensor in layers if recipe.type_of(tensor) == kind)
    enough = (1 - _MOST_SUBSTITUTES) * sum(tensor.n_values for tensor in layers)
    return _converting(recipe, tensors) if converted >= enough else None


def _converting(recipe: Recipe, tensors: Sequence[Tensor]) -> Recipe | None:
    return recipe if recipe.changes(tensors) else None
