"""What an annotated model shows of modules beside their work: parameters, memory and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.modules import ModuleTotals, inclusive_totals
from opflops.records.rows import ancestry
from opflops.report.text.shapes import format_calls_shapes, usual_dtype
from opflops.units import data_size, exact, scaled
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opflops.profile.profile import Profile


class AnnotatedFacts:
    """Look up what a profile knows of modules beside their work."""

    def __init__(self, profile: Profile) -> None:
        self._memory = profile.memory
        self._records = {record.module: record for record in profile.modules}
        self._totals = inclusive_totals(profile.modules)
        self._usual_dtype = usual_dtype(call for record in profile.modules for call in record.calls)
        self._saved: dict[str, int] = {}
        for path, number in (self._memory.saved if self._memory else {}).items():
            for above in ancestry(path):
                self._saved[above] = self._saved.get(above, 0) + number

    def of_line(self, path: str) -> dict[str, Any]:
        """Return the fields of a line that are known of a module with all below it."""
        known: dict[str, Any] = {}
        if self._records:
            known["params"] = self._totals.get(path, ModuleTotals()).parameters
        if self._memory:
            known |= {"saved": self._saved.get(path, 0), "peak": self._memory.module_peaks.get(path)}
        return known

    def amounts(self, path: str, *, opened: bool) -> Iterator[str]:
        """Describe the parameters of a module."""
        record = self._records.get(path)
        if record is None:
            return
        total = self._totals[path]
        if opened and record.parameters:
            yield f"own {scaled(record.parameters)} params"
        if total.trainable != total.parameters:
            yield f"{scaled(total.trainable)} trainable"

    def notes(self, path: str, root: str) -> Iterator[str]:
        """Describe what else is known of a module itself."""
        record = self._records.get(path)
        if record is None:
            return
        for name, owner, _ in record.shared:
            yield printable(f"{name} is that of {owner.removeprefix(f'{root}.')}")
        if record.calls:
            yield printable(f"output {format_calls_shapes('output', record.calls, self._usual_dtype)}")


def format_facts(
    params: int | None, saved: int | None, peak: int | None, repeats: int, write: Callable[[Any], str]
) -> list[str]:
    """Write the parameters and the bytes of a line; "" for what is not known.

    Args:
        params: The parameters of one module.
        saved: The bytes that one module keeps for the backward pass.
        peak: The highest number of live bytes while one of the modules ran.
        repeats: How many modules the line stands for.
        write: Writes a number.
    """
    write_bytes = data_size if write is scaled else lambda number: f"{exact(number)} B"
    return [
        "" if params is None else f"{write(repeats * params)} params",
        "" if saved is None else f"{write_bytes(repeats * saved)} saved",
        "" if peak is None else f"{write_bytes(peak)} peak",
    ]
