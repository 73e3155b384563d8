"""What a profile answers about cost and speed: where to optimize, and what a run takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError
from opflops.profile.example_counts import rows_at_example
from opflops.profile.method_advice import advise
from opflops.records.arguments import explain_methods

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.devices import Device
    from opflops.profile.bottlenecks import Bottlenecks
    from opflops.profile.resources import Resources
    from opflops.records.memory import Memory
    from opflops.records.rows import Row
    from opflops.records.timing import Timing


@explain_methods(advise, ProfileArgumentError)
class Planning:
    """Add questions about time and money to a profile, the subclass that holds the data."""

    rows: tuple[Row, ...]
    remarks: tuple[str, ...]
    memory: Memory | None
    timing: Timing | None
    ranks: Sequence[tuple[int, Any]]

    def bottlenecks(self, device: str | Device | None = None, *, tf32: bool = False) -> Bottlenecks:
        """Rank modules and operators by the time that they take, to see which to prune or to rewrite.

        The time is the measured one if any row was timed, else the lower bound of :meth:`roofline` on the device. By
        Amdahl's law, a part with a share ``f`` of it saves ``f / 2`` if it takes half as long, and makes everything
        ``1 / (1 - f / 2)`` times as fast.

        A module counts with all modules below it, since that is what pruning it would save. So modules overlap:
        ``within`` names the listed module around one, and ``own`` is the time that is in no module below. Equal modules
        that follow each other are one entry, as in the report. A module that only passes on the time of a single one
        below it has no entry, and the only outermost module has one for its own work alone.

        What holds a part back is decided for each row, which has the calls of one operator in one module, phase and
        dtype; ``limit`` is what holds back most of the part's time.

        - ``"launches"``: a call took at most 20 µs on average and at least twice its lower bound, or has neither
          arithmetic nor traffic, as a view. Then it mostly waits for PyTorch, the driver and the start of the kernel.
          Without times this cannot be told, and the table says so.
        - ``"arithmetic"``, ``"memory"``: the larger of the two times of the roofline, also if the row took far longer.
        - "": there is no device, or what the operator does is not known, since it has no formula.

        >>> from opflops import Cost, Profile, Row
        >>> def row(op, module, seconds):
        ...     return Row(module, "Linear", op, "forward", "float32", 1, Cost(), seconds)
        >>> p = Profile((row("aten.mm", "Net.a", 3.0), row("aten.mm", "Net.b", 0.75), row("aten.add", "Net.b", 0.25)))
        >>> for each in p.bottlenecks().modules:
        ...     print(each.label, each.seconds, each.saving, each.speedup)
        Net.a 3.0 0.375 1.6
        Net.b 1.0 0.125 1.1428571428571428

        Args:
            device: As for :meth:`roofline`. May be left out if there are times, but then nothing tells what holds parts
                back. If there are times, they should be of this device.
            tf32: As for :meth:`roofline`.

        Returns:
            ``modules`` and ``operators``, longest first, with ``label``, ``kind``, ``seconds``, ``share``, ``saving``,
            ``speedup``, ``limit`` and more; ``print`` shows ten of each.

        Raises:
            ProfileError: There are neither times nor a device, the device is unknown or has no known peak for a dtype,
                or a count is an expression or negative.
        """
        from opflops.profile.bottlenecks import bottlenecks  # noqa: PLC0415 - keeps import opflops fast

        rows = rows_at_example(self.rows)
        ranks = len(self.ranks)
        return bottlenecks(rows, device, tf32=tf32, remarks=self.remarks, timing=self.timing, ranks=ranks)

    def resources(
        self,
        device: str | Device,
        *,
        steps: float,
        mfu: float,
        devices: int | None = None,
        price: float | None = None,
        tokens: float | None = None,
        tf32: bool = False,
    ) -> Resources:
        """Compute what a number of steps takes: hours, device-hours, FLOPs and, with a price, money.

        A step takes the time that its matmuls take at the peaks of their dtypes, divided by the MFU (see :meth:`mfu`)
        and by the number of devices. A step is all that was counted, and the devices share it: count the batch of all
        of them together. If each device runs what was counted instead, as with data parallelism, the hours are those of
        ``devices=1``, and the device-hours that many times as many.

        >>> from opflops import Cost, Device, Profile, Row
        >>> mine = Device("mine", {"bfloat16": 1e12}, 1e11, source="my measurement")
        >>> step = Profile((Row("Net", "Net", "aten.mm", "forward", "bfloat16", 1, Cost(macs=720 * 10**12)),))
        >>> plan = step.resources(mine, steps=100, devices=8, mfu=0.4, price=2.5, tokens=4096)
        >>> plan.hours, plan.device_hours, plan.money, plan.tokens  # 1440 s x 100 / 0.4 = 100 hours of one device
        (12.5, 100.0, 250.0, 409600)

        Args:
            device: As for :meth:`roofline`.
            steps: How many steps there are.
            mfu: The share of the peaks that you assume, such as 0.4 for 40 %, or one that was measured:
                ``p.mfu(seconds, device)``.
            devices: How many devices share each step. None is the number of ranks of a gathered profile, or else 1.
            price: What one device costs in an hour, in any currency.
            tokens: How many tokens one step has.
            tf32: As for :meth:`roofline`.

        Returns:
            ``hours``, ``device_hours``, ``money``, ``flops``, ``tokens``, whether memory fits if it was counted
            (``fit``), and more. Printing it shows all of this with the assumptions and the source of the peaks.

        Raises:
            ProfileError: An argument cannot be used, the device is unknown or has no known peak for a dtype, a count is
                an expression or negative, or there are no matmuls in forward and backward.
        """
        from opflops.profile.resources import resources  # noqa: PLC0415 - keeps import opflops fast

        return resources(
            rows_at_example(self.rows),
            device,
            steps=steps,
            mfu=mfu,
            devices=max(len(self.ranks), 1) if devices is None else devices,
            price=price,
            tokens=tokens,
            tf32=tf32,
            memory=self.memory,
            remarks=self.remarks,
        )
