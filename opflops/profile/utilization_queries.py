"""The questions that ask a profile how well a device was used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError
from opflops.profile.example_counts import rows_at_example
from opflops.profile.method_advice import advise
from opflops.records.arguments import explain_methods

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.devices import Device
    from opflops.profile.utilization import Utilization
    from opflops.records.rows import Row
    from opflops.records.timing import Timing


@explain_methods(advise, ProfileArgumentError)
class UtilizationQueries:
    """Add utilization to a profile, the subclass that holds the data."""

    rows: tuple[Row, ...]
    remarks: tuple[str, ...]
    timing: Timing | None
    ranks: Sequence[tuple[int, Any]]

    def mfu(
        self,
        seconds: float | None = None,
        device: str | Device | None = None,
        *,
        world_size: int | None = None,
        tf32: bool = False,
    ) -> Utilization:
        """Compute the model FLOPs utilization, a float: 0.4 is 40 % of what the device could do.

        It is the time that the multiply-accumulates of the phases forward and backward take at the device's peak for
        the dtype that each ran in, at 2 FLOPs each, divided by ``seconds * world_size``. They are in matmuls,
        convolutions, attention and the gates of RNNs. Work that is recomputed in backward, the optimizer's step, and
        all other arithmetic do not count.

        - The backward of fused attention computes the scores again inside its kernel, and that counts: forward and
          backward are 7 matmuls where the rule ``6*N*D + 12*L*H*Q*T`` has 6. Masked scores count too, except with
          ``causal="exact"``.
        - Peaks are without sparsity. A 2:4 sparse matmul has half the multiply-accumulates of a dense one.
        - Integer matmuls count if the device has a peak for their dtype. Otherwise the text says that they are left
          out, as it does for operators without a formula, and the share is a lower bound.
        - A share above 1 is not cut off; the text lists what may be wrong.

        >>> import torch
        >>> from opflops import Device, count
        >>> p = count(torch.nn.Linear(500, 100, bias=False), torch.ones(10, 500))
        >>> mine = Device("mine", {"float32": 1e9}, 1e9, source="my measurement")
        >>> mfu = p.mfu(0.002, mine)  # 2 * 10 * 500 * 100 FLOPs take 0.001 s at the peak
        >>> float(mfu)
        0.5
        >>> print(mfu)  # doctest: +NORMALIZE_WHITESPACE
        MFU 50.0 % = 1.000 ms at peak / 2.000 ms. 2 x macs: 1.000 MFLOP in float32 at 1.000 GFLOP/s.
        Peaks of mine: my measurement.

        Args:
            seconds: The time in which all that was counted ran, on the slowest device. None takes the time that the
                profile has, and the text says which: that of a run without the mode, as :func:`opflops.time_step` has
                it, or the operators' times, added up. In the latter, the time between operators is missing.
            device: A name in :data:`opflops.devices.DEVICES`, such as ``"h100-sxm"`` or, for float32 in TF32,
                ``"h100-sxm:tf32"``; or your own :class:`opflops.devices.Device`.
            world_size: How many such devices shared the counted work. If each process counts its own part, as with
                data parallelism, this is 1. None is 1, or the number of ranks of a gathered profile, unless times of
                operators are taken, which add up over the ranks as work does.
            tf32: Whether float32 was computed in TF32, as convolutions on CUDA are by default.

        Returns:
            A float with the attributes of :class:`opflops.profile.utilization.Utilization`.

        Raises:
            ProfileError: An argument cannot be used, the device has no known peak for a floating dtype, or a count is
                an expression or negative.
        """
        from opflops.profile.device_time import MFU, devices_sharing, utilization  # noqa: PLC0415 - keeps import opflops fast

        rows = rows_at_example(self.rows)
        devices = devices_sharing(len(self.ranks), seconds, self.timing) if world_size is None else world_size
        return utilization(MFU, rows, seconds, device, devices, tf32=tf32, remarks=self.remarks, timing=self.timing)

    def hfu(
        self,
        seconds: float | None = None,
        device: str | Device | None = None,
        *,
        world_size: int | None = None,
        tf32: bool = False,
    ) -> Utilization:
        """Compute the hardware FLOPs utilization: as :meth:`mfu`, with the work that was recomputed in backward.

        Without activation checkpointing both are equal.

        Args:
            seconds: As for :meth:`mfu`.
            device: As for :meth:`mfu`.
            world_size: As for :meth:`mfu`.
            tf32: As for :meth:`mfu`.

        Raises:
            ProfileError: As for :meth:`mfu`.
        """
        from opflops.profile.device_time import HFU, devices_sharing, utilization  # noqa: PLC0415 - keeps import opflops fast

        rows = rows_at_example(self.rows)
        devices = devices_sharing(len(self.ranks), seconds, self.timing) if world_size is None else world_size
        return utilization(HFU, rows, seconds, device, devices, tf32=tf32, remarks=self.remarks, timing=self.timing)
