"""What :func:`opflops.compat.torchinfo.summary` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.compat.torchinfo.enums import Units
from opflops.compat.torchinfo.formatting import CONVERSION_FACTORS

if TYPE_CHECKING:
    from opflops.compat.torchinfo.formatting import FormattingOptions
    from opflops.compat.torchinfo.layer_info import LayerInfo
    from opflops.profile.profile import Profile


class ModelStatistics:
    """Hold the rows of a summary and their totals; as a string, the table.

    Attributes:
        summary_list: The rows, the model first.
        input_size: The shapes of the inputs, in the structure that they were given in.
        formatting: How the table is written.
        total_input: The bytes of the inputs.
        total_mult_adds: The multiply-accumulates of the call.
        total_params: The number of the parameters.
        trainable_params: How many of them have ``requires_grad``.
        total_param_bytes: The bytes of the parameters.
        total_output_bytes: Twice the bytes of the outputs of modules with parameters of their own: again for gradients.
        profile: What opflops counted; None without inputs.
    """

    profile: Profile | None = None

    def __init__(
        self, summary_list: list[LayerInfo], input_size: Any, total_input_size: int, formatting: FormattingOptions
    ) -> None:
        self.summary_list = summary_list
        self.input_size = input_size
        self.formatting = formatting
        self.total_input = total_input_size
        self.total_mult_adds = sum(row.own_macs for row in summary_list)
        parameters = {key: count for row in summary_list for key, count in row.parameters.items()}.values()
        self.total_params = sum(each.elements for each in parameters)
        self.trainable_params = sum(each.elements for each in parameters if each.trainable)
        self.total_param_bytes = sum(each.bytes for each in parameters)
        self.total_output_bytes = 2 * sum(row.counted_output_bytes for row in summary_list)
        formatting.set_layer_name_width(summary_list)

    def __repr__(self) -> str:
        options = self.formatting
        divider = "=" * options.get_total_width()
        frozen = self.total_params - self.trainable_params
        lines = [
            divider,
            options.header_row() + divider,
            options.layers_to_str(self.summary_list, self.total_params) + divider,
            f"Total params{self.format_output_num(self.total_params, options.params_units)}",
            f"Trainable params{self.format_output_num(self.trainable_params, options.params_units)}",
            f"Non-trainable params{self.format_output_num(frozen, options.params_units)}",
        ]
        if self.input_size:
            total = self.total_input + self.total_output_bytes + self.total_param_bytes
            lines += [
                f"Total mult-adds{self.format_output_num(self.total_mult_adds, options.macs_units)}",
                divider,
                f"Input size (MB): {self.to_megabytes(self.total_input):0.2f}",
                f"Forward/backward pass size (MB): {self.to_megabytes(self.total_output_bytes):0.2f}",
                f"Params size (MB): {self.to_megabytes(self.total_param_bytes):0.2f}",
                f"Estimated Total Size (MB): {self.to_megabytes(total):0.2f}",
            ]
        return "\n".join([*lines, divider])

    @staticmethod
    def float_to_megabytes(num: int) -> float:
        """Return the megabytes of a number of 32-bit numbers."""
        return num * 4 / 1e6

    @staticmethod
    def to_megabytes(num: int) -> float:
        """Return bytes as megabytes."""
        return num / 1e6

    @staticmethod
    def to_readable(num: int, units: Units = Units.AUTO) -> tuple[Units, float]:
        """Return a number in a unit; by default in millions, or more if it is one of those or more."""
        if units == Units.AUTO:
            larger = [unit for unit in (Units.TERABYTES, Units.GIGABYTES) if num >= CONVERSION_FACTORS[unit]]
            units = larger[0] if larger else Units.MEGABYTES
        return units, num / CONVERSION_FACTORS[units]

    @staticmethod
    def format_output_num(num: int, units: Units) -> str:
        """Return what follows the name of a total: the unit and the number, such as ``" (M): 1.50"``."""
        units, converted = ModelStatistics.to_readable(num, units)
        unit = f" ({units})" if units != Units.NONE else ""
        number = f"{int(converted):,}" if float(converted).is_integer() else f"{converted:,.2f}"
        return f"{unit}: {number}"
