"""Render one profile or several, in the format that the options select."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from opflops.cli import fits, output, planning
from opflops.cli.arguments import FILE_FORMATS
from opflops.cli.option_wording import name_options_in_report
from opflops.devices import TF32
from opflops.devices import device as find_device
from opflops.devices.benchmark import benchmark_device
from opflops.errors import TargetError
from opflops.extras import optional
from opflops.profile.profile import Profile
from opflops.report.files.counts import check_measure
from opflops.report.text.color import wants_color
from opflops.report.text.comparison import ComparisonOptions, format_comparison
from opflops.report.text.memory_lines import memory_lines
from opflops.report.text.pairing import ComparedProfile
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import is_markup

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from opflops.cli.fits import Capacity
    from opflops.cli.running import CountedTarget
    from opflops.devices import Device
    from opflops.report.text.tables import TableOptions

_MIN_COMPARED = 2
_STACK_FORMATS = ("folded", "speedscope")
MEASURED_DEVICES = ("cpu", "cuda")
"""The devices that --roofline measures; it looks up others in their datasheets."""

_DIAGRAM_FORMATS = ("mermaid", "mermaid-er")
_TABLE_OPTIONS = ("depth", "expand", "sort", "top", "columns", "numbers", "conditions")


@dataclass(frozen=True)
class Rendering:
    """Hold how to write a report.

    Attributes:
        format: The format.
        by: The keys to group by; None for the overview.
        options: The options of tables that are given.
        measure: The quantity of flame graphs and comparisons; None for the default.
        roofline: The device to bound times on; "" for no bounds.
        tf32: Whether that device computes float32 in TF32.
        color: Whether to write colors.
        bar: Whether to draw bars for shares; None decides by the terminal.
        capacity: The memory that ``--fits`` names; None without the option.
        bottlenecks: The device of ``--bottlenecks``; "" to rank by times alone, None without the option.
        plan: What ``--resources`` says; None without the option.
    """

    format: str
    by: tuple[str, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    measure: str | None = None
    roofline: str = ""
    tf32: bool = False
    color: bool = False
    bar: bool | None = None
    capacity: Capacity | None = None
    bottlenecks: str | None = None
    plan: planning.Plan | None = None

    @property
    def has_sentences(self) -> bool:
        """Tell whether the report has room for sentences; otherwise they are notes on stderr."""
        return self.format not in FILE_FORMATS and not is_markup(self.format)

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Rendering:
        """Read the options, and check them before anything is counted.

        Raises:
            TargetError: Options cannot be combined, or the device is not known.
            MissingExtraError: The format needs a package that is not installed.
        """
        form = output.choose_format(arguments.format, arguments.output)
        if arguments.output not in (None, "-"):
            output.check_writable(arguments.output)
        if form == "page":
            # What is missing is said now, and not after minutes of counting.
            optional("plotly.offline", "html", "The HTML page")
        given = {name: getattr(arguments, name, None) for name in _TABLE_OPTIONS}
        options = {name: value for name, value in given.items() if value is not None and value is not False}
        roofline, _, suffix = (getattr(arguments, "roofline", None) or "").partition(":")
        if suffix not in ("", TF32):
            raise TargetError(f"--roofline {roofline}:{suffix} has an unknown suffix; only :tf32 can follow a device.")
        bottlenecks, plan = _read_sections(arguments, roofline, form)
        allowed = ("depth",) if form in _DIAGRAM_FORMATS else ()
        refused = [*(name for name in options if name not in allowed), *(["by"] if arguments.by else [])]
        if form in FILE_FORMATS and refused:
            raise TargetError(f"--{refused[0]} works only for tables. --format {form} always contains everything.")
        is_diff = not hasattr(arguments, "targets")
        compares_targets = not is_diff and len(arguments.targets) >= _MIN_COMPARED
        if arguments.measure and not (is_diff or compares_targets) and form not in _STACK_FORMATS:
            raise TargetError(
                "--measure works with several targets, or with --format folded or speedscope. For one table use "
                "--columns."
            )
        to_stdout = arguments.output in (None, "-")
        color, bar = to_stdout and wants_color(sys.stdout), None if to_stdout else False
        capacity = fits.find_capacity(arguments)
        tf32 = suffix == TF32
        rendering = cls(
            *(form, arguments.by, options, arguments.measure, roofline, tf32, color, bar, capacity),
            *(bottlenecks, plan),
        )
        if compares_targets:
            rendering.comparison_options()
        elif form in _STACK_FORMATS:
            check_measure(rendering.measure or "flops")
        elif form not in FILE_FORMATS:
            # Check the options of tables with an empty profile. Its modules are not known yet, so --expand is left out.
            _render_table(Profile(), replace(rendering, options={**options, "expand": False}))
        return rendering

    @property
    def is_overview(self) -> bool:
        """Tell whether one target gets the report of ``print``, and not a single table."""
        return self.by is None and self.format == "simple" and self.options.keys() <= {"expand", "conditions"}

    def comparison_options(self) -> ComparisonOptions:
        """Return the options of a comparison of several targets.

        Raises:
            TargetError: A comparison does not have an option that is given.
            ProfileError: It cannot be sorted like this.
        """
        if self.format in FILE_FORMATS:
            raise TargetError(f"--format {self.format} works only for one target. Compare several in a table.")
        sections = {"roofline": self.roofline, "bottlenecks": self.bottlenecks is not None, "resources": self.plan}
        for name, is_given in sections.items():
            if is_given:
                raise TargetError(f"--{name} works only for one target.")
        options = {
            name: value for name, value in self.options.items() if name not in ("expand", "columns", "conditions")
        }
        if self.options.keys() & {"expand", "columns"}:
            raise TargetError(
                "--expand and --columns work only for one target. A comparison has one column for each target."
            )
        comparison = self.side_by_side_options(options)
        comparison.order({}, changes=False)
        return comparison

    def side_by_side_options(self, options: dict[str, Any]) -> ComparisonOptions:
        """Return the options of a table of several profiles, with some options of tables."""
        by, measure = self.by or "module", self.measure or "flops"
        return ComparisonOptions(by=by, measure=measure, tablefmt=self.format, color=self.color, **options)


def _read_sections(arguments: argparse.Namespace, roofline: str, form: str) -> tuple[str | None, planning.Plan | None]:
    """Check the options of what stands below tables; return the device of ``--bottlenecks`` and ``--resources``.

    Raises:
        TargetError: The format has no place for one, or an option cannot be used.
        ProfileError: A device is not known.
    """
    bottlenecks, planned = (getattr(arguments, name, None) for name in ("bottlenecks", "resources"))
    plan = None if planned is None else planning.parse_plan(planned)
    for device in (roofline, bottlenecks, "" if plan is None else plan.device):
        if device and device not in MEASURED_DEVICES:
            # An unknown name raises now, and not after minutes of counting.
            find_device(device)
    if plan is not None:
        planning.check_plan(plan)
    given = {"roofline": roofline, "bottlenecks": bottlenecks is not None, "resources": plan}
    refuses = is_markup(form) or (form in FILE_FORMATS and form != "page")
    for name in [name for name, is_given in given.items() if is_given and refuses]:
        raise TargetError(f"--{name} works only with --format page and text tables, not with --format {form}.")
    if form == "page" and roofline and bottlenecks and arguments.roofline != bottlenecks:
        raise TargetError("A page has one device: give the same one to --roofline and --bottlenecks.")
    return bottlenecks, plan


def get_device(name: str) -> Device:
    """Return a device from its datasheet, or measure the CPU or GPU of this machine.

    Raises:
        TargetError: It is the GPU, and this machine has none.
        ProfileError: The device is not known.
    """
    if name in MEASURED_DEVICES:
        if name == "cuda" and not torch.cuda.is_available():
            raise TargetError("cuda needs a GPU that PyTorch can use, and there is none here.")
        return benchmark_device(name)
    return find_device(name)


def _find_device(name: str) -> str | Device:
    """Measure the CPU or GPU of this machine; return the name of another device."""
    found = get_device(name) if name in MEASURED_DEVICES else None
    return name if found is None else found


def render(counted: CountedTarget, rendering: Rendering) -> str:
    """Write the report of one target."""
    profile = counted.profile
    if rendering.format in FILE_FORMATS:
        return _render_file(counted, rendering)
    text = _render_table(profile, rendering)
    if profile.memory is not None and not rendering.is_overview and not is_markup(rendering.format):
        text = "\n".join([text, "", *memory_lines(profile.memory, color=rendering.color)])
    if rendering.roofline:
        device = get_device(rendering.roofline)
        bounds = profile.roofline(device, rendering.by or "op", tf32=rendering.tf32)
        text = f"{text}\n\n{bounds.table(rendering.options.get('top'))}"
    if rendering.bottlenecks is not None:
        top = rendering.options.get("top")
        text = f"{text}\n\n{planning.bottlenecks_text(profile, rendering.bottlenecks, _find_device, top)}"
    if rendering.plan is not None:
        text = f"{text}\n\n{rendering.plan.resources(profile, _find_device(rendering.plan.device))}"
    if not rendering.has_sentences:
        return text
    return "\n".join([*_head(counted, rendering), "", name_options_in_report(text)])


def _head(counted: CountedTarget, rendering: Rendering) -> list[str]:
    """Write what was counted, and whether it fits."""
    return wrap_sentences([counted.summary, *fits.sentences(counted, rendering.capacity)])


def _render_file(counted: CountedTarget, rendering: Rendering) -> str:
    profile = counted.profile
    measure = rendering.measure or "flops"
    if rendering.format == "json":
        return profile.to_json()
    if rendering.format in ("csv", "csv-modules"):
        return profile.to_csv("modules" if rendering.format == "csv-modules" else "rows")
    if rendering.format == "folded":
        return profile.to_folded(measure)
    if rendering.format == "speedscope":
        return profile.to_speedscope(measure)
    if rendering.format == "page":
        title = next(iter(counted.about.values()))
        device: str | Device | None = get_device(rendering.roofline) if rendering.roofline else None
        if device is None and rendering.bottlenecks:
            device = _find_device(rendering.bottlenecks)
        fits = None if rendering.capacity is None else rendering.capacity.bytes
        about = dict(counted.about)
        if counted.largest is not None:
            about["largest"] = str(counted.largest)
        if rendering.plan is not None:
            about["resources"] = rendering.plan.resources(profile, _find_device(rendering.plan.device)).summary
        return profile.to_html(title=title, device=device, tf32=rendering.tf32, about=about, fits=fits)
    depth = rendering.options.get("depth")
    return profile.to_mermaid("er" if rendering.format == "mermaid-er" else "state", depth=depth)


def _render_table(profile: Profile, rendering: Rendering) -> str:
    options = rendering.options
    if rendering.is_overview:
        # The short list of the overview would repeat what stands below.
        shown = rendering.bottlenecks is None
        return profile.overview(color=rendering.color, bar=rendering.bar, bottlenecks=shown, **options)
    given = {**options, "tablefmt": rendering.format, "color": rendering.color, "bar": rendering.bar}
    return profile.table(rendering.by or "module", **cast("TableOptions", given))


def to_compared_profile(counted: CountedTarget, *, conditions: bool = False) -> ComparedProfile:
    """Return what a comparison shows of a target; all conditions of its formulas if that is asked for."""
    profile = counted.profile
    symbolic = profile.symbolic._replace(lists_conditions=conditions)
    return ComparedProfile(profile.rows, symbolic, counted.params, profile.modules, profile.memory)


def render_comparison(counted: Mapping[str, CountedTarget], rendering: Rendering) -> str:
    """Write several targets side by side, below one summary line for each."""
    conditions = rendering.options.get("conditions", False)
    compared = {name: to_compared_profile(each, conditions=conditions) for name, each in counted.items()}
    text = format_comparison(compared, rendering.comparison_options())
    if not rendering.has_sentences:
        return text
    heads = [line for each in counted.values() for line in _head(each, rendering)]
    return "\n".join([*heads, "", name_options_in_report(text)])
