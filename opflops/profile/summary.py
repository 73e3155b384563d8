"""What a prompt shows of a profile: one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.report.notes import join_names
from opflops.report.text.tree import OUTSIDE
from opflops.units import scaled
from opflops.wording import printable

if TYPE_CHECKING:
    from opflops.profile.profile import Profile

_MAX_ROOTS = 3


def summarize(profile: Profile) -> str:
    """Write the models and totals of a profile in one line.

    >>> from opflops import Cost, Profile, Row
    >>> row = Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=1_200_000))
    >>> Profile([row, row])
    <Profile of Net: 2.400 M macs, 4.800 M flops. print() shows the report>
    """
    if not profile.rows:
        return "nothing counted"
    # The work outside, such as that of making the inputs, is not what a profile is of.
    roots = list(dict.fromkeys(root for row in profile.rows if (root := row.module.partition(".")[0]))) or [OUTSIDE]
    names = roots if len(roots) <= _MAX_ROOTS else [*roots[: _MAX_ROOTS - 1], f"{len(roots) - _MAX_ROOTS + 1} more"]
    total, missing = profile.total, len(profile.unpriced)
    return printable(
        ", ".join(
            [
                f"{join_names(names)}: {scaled(total.macs)} macs",
                f"{scaled(total.flops)} flops",
                *([f"{scaled(profile.parameters)} params"] if profile.parameters else []),
                *([f"{len(profile.ranks)} ranks"] if len(profile.ranks) > 1 else []),
                *([f"{missing} operator{'s' if missing > 1 else ''} without a formula"] if missing else []),
            ]
        )
    )


def profile_repr(profile: Profile, kind: str) -> str:
    """Write one line with the kind of an object, what it has counted, and how to see more."""
    if not profile.rows:
        return f"<{kind}: {summarize(profile)}>"
    return f"<{kind} of {summarize(profile)}. print() shows the report>"
