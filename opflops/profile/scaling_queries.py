"""The question how the work of a profile grows with its dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.errors import ProfileArgumentError
from opflops.profile.method_advice import advise
from opflops.records.arguments import check_count, explain_methods

if TYPE_CHECKING:
    from opflops.profile.scaling import Scaling
    from opflops.records.dimensions import Dimension
    from opflops.records.rows import Row


@explain_methods(advise, ProfileArgumentError)
class ScalingQueries:
    """Add the question to a profile, the subclass that holds the data."""

    rows: tuple[Row, ...]
    dimensions: tuple[Dimension, ...]

    def scaling(self, measure: str = "flops", largest: int = 8) -> Scaling:
        """Compute how the total and the largest modules and operators grow with each dimension.

        >>> import torch
        >>> from torch.export import Dim
        >>> from opflops import count
        >>> layer = torch.nn.TransformerEncoderLayer(64, 4, 256, dropout=0, batch_first=True, bias=False)
        >>> sizes = {0: Dim("batch"), 1: Dim("seq")}
        >>> p = count(layer, torch.zeros(2, 16, 64), dynamic_shapes=(sizes,))
        >>> p.total.macs
        128*batch*seq**2 + 49152*batch*seq
        >>> growth = p.scaling("macs")
        >>> growth.total["seq"]
        Growth(degree=2, coefficient=128*batch)
        >>> for name, by_dimension in growth.ops.items():
        ...     print(name, by_dimension["seq"])
        aten.mm Growth(degree=1, coefficient=49152*batch)
        aten._scaled_dot_product_flash_attention_for_cpu Growth(degree=2, coefficient=128*batch)
        >>> print(growth.crossovers[0])
        aten._scaled_dot_product_flash_attention_for_cpu overtakes aten.mm at seq = 384

        Here attention costs more than the weight matmuls from a sequence of six times the width on. ``print(growth)``
        shows all of this as a table, with a line for the total and for each module and operator.

        Args:
            measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"`` or one of its parts, or
                ``"sent"``.
            largest: How many modules, and how many operators, to examine.

        Returns:
            Degrees and leading coefficients, and the sizes at which one part overtakes another.

        Raises:
            ProfileError: The counts are numbers, or the measure is unknown.
        """
        from opflops.profile.scaling import scaling  # noqa: PLC0415 - keeps import opflops fast

        check_count("largest", largest, otherwise="")
        return scaling(self.rows, self.dimensions, measure, largest)
