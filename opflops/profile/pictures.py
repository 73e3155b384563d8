"""The pictures of a profile; each is drawn in ``report.plots``, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.example_counts import rows_at_example
from opflops.profile.method_advice import advise
from opflops.records.arguments import check_count, check_text, explain_methods
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from opflops.devices import Device
    from opflops.profile.profile import Profile
    from opflops.records.memory import Memory
    from opflops.records.rows import Row

# Reports are imported when they are drawn, which keeps import opflops fast.


@explain_methods(advise, ProfileArgumentError)
class Pictures:
    """Add pictures to a profile, the subclass that holds the data.

    All of them take ``ax``, the Axes of matplotlib to draw on, and return these. Without ``ax`` they make a figure:
    ``p.plot_modules().figure.savefig("modules.png")`` writes it to a file, and a notebook shows
    ``p.plot_modules().figure``. It is not one of pyplot's; for a window, give ``ax=plt.gca()``.
    """

    rows: tuple[Row, ...]
    memory: Memory | None

    def plot_roofline(
        self,
        device: str | Device,
        by: str | tuple[str, ...] = "op",
        *,
        tf32: bool = False,
        top: int = 12,
        ax: Any = None,
    ) -> Axes:
        """Draw the roofline of a device: its peaks and its bandwidth, and below them a point for each part.

        The area of a point is its share of the time. Timed parts stand at the rate that was achieved, others at their
        bound. Modules that differ by numbers in their names alone are one point.

        Args:
            device: A name, such as ``"h100-sxm"``, or an :class:`opflops.devices.Device`.
            by: A key of rows, or a tuple of keys; each value is a point.
            tf32: Whether float32 matmuls run in TF32.
            top: How many points get a label, those with the longest times; fewer if there is no room.
            ax: The Axes of matplotlib to draw on.

        Raises:
            MissingExtraError: The extra ``plot`` is not installed; the message says how to install it.
            ProfileError: The device or a key is unknown, the device has no known peak for a dtype, or a count is an
                expression or negative.
        """
        check_count("top", top, 0, otherwise="")
        from opflops.profile.roofline import roofline  # noqa: PLC0415 - see above
        from opflops.report.plots.roofline import draw_roofline  # noqa: PLC0415 - as above

        rows = rows_at_example(self.rows)
        found = roofline(rows, device, by, tf32=tf32)
        dtypes = dict.fromkeys(row.dtype for row in rows if row.floating and row.cost.flops)
        peaks = {
            f"{dtype} in TF32" if found.tf32 and dtype == "float32" else dtype: found.device.peak(
                dtype, tf32=found.tf32
            )
            for dtype in dtypes
        }
        return draw_roofline(found.device, found.parts, peaks, by=found.by, top=top, ax=ax)

    def plot_modules(self, measure: str = "flops", *, depth: int | None = None, top: int = 20, ax: Any = None) -> Axes:
        """Draw a horizontal bar for each module, the largest first, with the phases stacked.

        Repeated blocks are one bar, as in tables. The bars add up to the total.

        Args:
            measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"``, ``"bytes_read"``,
                ``"bytes_written"``, ``"sent"`` or ``"seconds"``.
            depth: How many levels of modules to tell apart below the roots; bars of the deepest include the modules
                below them. None tells all apart, each with its own work.
            top: How many bars to draw at most; one more is for the others.
            ax: The Axes of matplotlib to draw on.

        Raises:
            MissingExtraError: The extra ``plot`` is not installed; the message says how to install it.
            ProfileError: The measure is unknown, nothing was timed, or a count is an expression or negative.
        """
        check_text("measure", measure, "plot_modules('macs')")
        check_count("depth", depth, 0)
        check_count("top", top, otherwise="")
        from opflops.report.plots.module_bars import draw_module_bars  # noqa: PLC0415 - see above

        return draw_module_bars(rows_at_example(self.rows), measure, depth=depth, top=top, ax=ax)

    def plot_memory(self, device: str | None = None, *, ax: Any = None) -> Axes:
        """Draw the live bytes after each operator, stacked by category, with the peak and the phases.

        Args:
            device: The device whose memory to draw, such as ``"cuda:0"``; by default the one with the highest peak.
            ax: The Axes of matplotlib to draw on.

        Raises:
            MissingExtraError: The extra ``plot`` is not installed; the message says how to install it.
            ProfileError: Memory was not followed, or not on that device.
        """
        from opflops.report.plots.memory_timeline import draw_memory  # noqa: PLC0415 - see above

        if self.memory is None:
            raise ProfileError("Memory was not followed. Count with memory=True.")
        by_device = {each.device: each for each in (self.memory, *self.memory.others)}
        if device is not None and device not in by_device:
            raise ProfileArgumentError(unknown("memory on", str(device), by_device, list_all=True))
        return draw_memory(self.memory if device is None else by_device[device], ax=ax)

    def plot_scaling(
        self,
        measure: str | tuple[str, ...] = "flops",
        dimension: str | None = None,
        *,
        by: str = "op",
        top: int = 4,
        sizes: Mapping[str, int] | None = None,
        limits: tuple[int, int] | None = None,
        ax: Any = None,
    ) -> Axes:
        """Draw how counts grow with a dimension, on logarithmic axes, with the exponents.

        Where the formulas do not hold, curves have gaps. A size at which the model does something else is a dot.

        Args:
            measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"`` or one of its parts, for the
                total and its largest parts; or several, for the total of each.
            dimension: The dimension to draw along; by default the first.
            by: The key of rows whose values are the parts of the total.
            top: How many parts to draw, those that are largest at the largest size.
            sizes: The sizes of other dimensions, which stay fixed; by default those of the example.
            limits: The smallest and the largest size to draw; by default the range of the dimension, up to 64 times the
                example's size.
            ax: The Axes of matplotlib to draw on.

        Raises:
            MissingExtraError: The extra ``plot`` is not installed; the message says how to install it.
            ProfileError: The counts are numbers, or a measure, a dimension, a key or a size is not valid.
        """
        check_count("top", top, 0, otherwise="")
        from opflops.profile.curves import make_curves, measures_of  # noqa: PLC0415 - see above
        from opflops.report.plots.scaling_curves import draw_scaling  # noqa: PLC0415 - as above

        measures = measures_of(measure)
        profile = cast("Profile", self)
        curves, domain = make_curves(profile, measures, dimension, by=by, top=top, sizes=sizes, limits=limits)
        return draw_scaling(curves, domain, measures, ax=ax)
