"""A profile, or several, in the format that was asked for."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from opflops.cli import output
from opflops.cli.arguments import FILES
from opflops.devices import TF32
from opflops.devices import datasheets as devices
from opflops.devices.benchmark import benchmark_device
from opflops.errors import TargetError
from opflops.profile.profile import Profile
from opflops.report.files.counts import check_measure
from opflops.report.text.color import wants_color
from opflops.report.text.comparison import ComparisonOptions, format_comparison
from opflops.report.text.pairing import ComparedProfile
from opflops.report.text.sheet import is_markup

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from opflops.cli.running import Counted
    from opflops.devices import Device
    from opflops.report.text.tables import TableOptions

_TWO = ("before", "after")
_STACKS = ("folded", "speedscope")
HERE = ("cpu", "cuda")
"""What --roofline measures, where others are known from their datasheets."""

_OPTIONS = ("depth", "expand", "sort", "top", "columns", "numbers")


@dataclass(frozen=True)
class Rendering:
    """Hold how a report is to look.

    Attributes:
        form: The format.
        by: The keys to group by; None for the overview.
        options: Of tables, as asked for.
        measure: What stacks and comparisons are of.
        roofline: The device to bound times on; "" for no bounds.
        tf32: Whether float32 is computed in TF32 there.
        color: Whether it is printed where colours show.
        bar: Whether shares have bars; None where that depends on whether it is printed to a terminal.
    """

    form: str
    by: tuple[str, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    measure: str | None = None
    roofline: str = ""
    tf32: bool = False
    color: bool = False
    bar: bool | None = None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Rendering:
        """Read it off the arguments, before anything is counted.

        Raises:
            TargetError: Options do not go together, or there is no such device.
        """
        form = output.chosen(arguments.format, arguments.output)
        if arguments.output not in (None, "-"):
            output.check(arguments.output)
        given = {name: getattr(arguments, name, None) for name in _OPTIONS}
        options = {name: value for name, value in given.items() if value is not None and value is not False}
        roofline, _, products = (getattr(arguments, "roofline", None) or "").partition(":")
        if products not in ("", TF32):
            raise TargetError(f"--roofline {roofline}:{products} is no device; after a colon only tf32 can follow.")
        if roofline and roofline not in HERE:
            # A name that is not known is an error now, and not after minutes of counting.
            roofline = devices.device(roofline).name
        if roofline and (is_markup(form) or (form in FILES and form != "page")):
            raise TargetError(f"--roofline is shown below tables and on the page, not in --format {form}.")
        if form in FILES and (refused := [*options, *(["by"] if arguments.by else [])]):
            raise TargetError(f"--{refused[0]} is of tables; --format {form} has everything.")
        targets = getattr(arguments, "targets", _TWO)
        several = len(targets) >= len(_TWO)
        if arguments.measure and not several and form not in _STACKS:
            raise TargetError(
                "--measure is of comparisons, and of --format folded and speedscope; a table has all its --columns."
            )
        shown = arguments.output in (None, "-")
        color, bar = shown and wants_color(sys.stdout), None if shown else False
        found = cls(form, arguments.by, options, arguments.measure, roofline, products == TF32, color, bar)
        if several and targets is not _TWO:
            found.of_several()
        elif form in _STACKS:
            check_measure(found.measure or "flops")
        elif form not in FILES:
            # What is wrong with the options of tables is said before anything is counted; modules are not known yet.
            _table(Profile(), replace(found, options={**options, "expand": False}))
        return found

    def of_several(self) -> ComparisonOptions:
        """Return how several targets are compared.

        Raises:
            TargetError: A comparison does not have what was asked for.
            ProfileError: It cannot be sorted so.
        """
        if self.form in FILES:
            raise TargetError(f"--format {self.form} is of one target; several are compared in a table.")
        if self.roofline:
            raise TargetError("--roofline is of one target at a time.")
        options = {name: value for name, value in self.options.items() if name not in ("expand", "columns")}
        if len(options) < len(self.options):
            raise TargetError(
                "--expand and --columns are of one target; a comparison has a column for each of several."
            )
        found = self.side_by_side(options)
        found.order({}, changes=False)
        return found

    def side_by_side(self, options: dict[str, Any]) -> ComparisonOptions:
        """Return how several profiles are shown, with options of tables."""
        by, measure = self.by or "module", self.measure or "flops"
        return ComparisonOptions(by=by, measure=measure, tablefmt=self.form, color=self.color, **options)


def device_of(name: str) -> Device | None:
    """Find a device, or measure the one at hand."""
    if name in HERE:
        if name == "cuda" and not torch.cuda.is_available():
            raise TargetError("--roofline cuda measures a GPU that PyTorch can use, and there is none here.")
        return benchmark_device(name)
    return devices.device(name) if name else None


def rendered(counted: Counted, rendering: Rendering) -> str:
    """Write one profile."""
    profile = counted.profile
    if rendering.form in FILES:
        return _file(counted, rendering)
    text = _table(profile, rendering)
    device = device_of(rendering.roofline)
    if device is not None:
        text = f"{text}\n\n{profile.roofline(device, rendering.by or 'op', tf32=rendering.tf32)}"
    return text if is_markup(rendering.form) else f"{counted.line}\n\n{text}"


def _file(counted: Counted, rendering: Rendering) -> str:
    profile = counted.profile
    measure = rendering.measure or "flops"
    if rendering.form == "json":
        return profile.to_json()
    if rendering.form == "csv":
        return profile.to_csv()
    if rendering.form == "folded":
        return profile.to_folded(measure)
    if rendering.form == "speedscope":
        return profile.to_speedscope(measure)
    if rendering.form == "page":
        title = next(iter(counted.about.values()))
        device = device_of(rendering.roofline)
        return profile.to_html(title=title, device=device, tf32=rendering.tf32, about=counted.about)
    return profile.to_mermaid("er" if rendering.form == "mermaid-er" else "state")


def _table(profile: Profile, rendering: Rendering) -> str:
    options = rendering.options
    if rendering.by is None and rendering.form == "simple" and options.keys() <= {"expand"}:
        return profile.overview(color=rendering.color, bar=rendering.bar, **options)
    given = {**options, "tablefmt": rendering.form, "color": rendering.color, "bar": rendering.bar}
    return profile.table(rendering.by or "module", **cast("TableOptions", given))


def named(counted: Counted) -> ComparedProfile:
    """Return what is compared of what was counted."""
    return ComparedProfile(counted.profile.rows, counted.profile.symbolic, counted.params)


def compared(found: Mapping[str, Counted], rendering: Rendering) -> str:
    """Write several profiles side by side, with what each is of above them."""
    text = format_comparison({name: named(each) for name, each in found.items()}, rendering.of_several())
    if is_markup(rendering.form):
        return text
    return "\n".join([*(each.line for each in found.values()), "", text])
