"""The cases of a profile: sizes at which a model does something else than at all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opflops.profile.profile import Profile


class Case(NamedTuple):
    """Hold the costs of a model at sizes of some dimensions at which it does something else.

    Attributes:
        sizes: Pairs of a dimension and its size.
        profile: The costs there, for all sizes of the other dimensions.
    """

    sizes: tuple[tuple[str, int], ...]
    profile: Profile

    def covers(self, sizes: Mapping[str, int]) -> bool:
        """Tell whether the case applies to some sizes."""
        return all(sizes.get(name) == size for name, size in self.sizes)

    def rest(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return the sizes of dimensions that the case leaves open."""
        fixed = dict(self.sizes)
        return {name: size for name, size in sizes.items() if name not in fixed}
