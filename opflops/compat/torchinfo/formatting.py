"""How the table of a summary is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.compat.torchinfo.enums import ColumnSettings, RowSettings, Units, Verbosity
from opflops.compat.torchinfo.layer_info import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opflops.compat.torchinfo.layer_info import LayerInfo

HEADER_TITLES = {
    ColumnSettings.KERNEL_SIZE: "Kernel Shape",
    ColumnSettings.INPUT_SIZE: "Input Shape",
    ColumnSettings.OUTPUT_SIZE: "Output Shape",
    ColumnSettings.NUM_PARAMS: "Param #",
    ColumnSettings.PARAMS_PERCENT: "Param %",
    ColumnSettings.MULT_ADDS: "Mult-Adds",
    ColumnSettings.TRAINABLE: "Trainable",
}
CONVERSION_FACTORS = {
    Units.TERABYTES: 1e12,
    Units.GIGABYTES: 1e9,
    Units.MEGABYTES: 1e6,
    Units.KILOBYTES: 1e3,
    Units.NONE: 1,
}


class FormattingOptions:
    """Hold how a table is written; the attributes may be changed before it is printed again.

    Attributes:
        max_depth: The depth of the last rows that are shown.
        verbose: Whether the parameters are shown too, as 2.
        col_names: The columns.
        col_width: The width of each but the first.
        row_settings: What rows show.
        params_units: The unit of the totals of parameters.
        macs_units: The unit of the total of multiply-accumulates.
        layer_name_width: The width of the first column.
        ascii_only: Whether the tree is drawn in ASCII.
        show_var_name: Whether rows show the names of modules.
        show_depth: Whether rows show their depth.
        hide_recursive_layers: Whether later rows of a module are left out.
    """

    def __init__(
        self,
        max_depth: int,
        verbose: int,
        col_names: tuple[ColumnSettings, ...],
        col_width: int,
        row_settings: set[RowSettings],
    ) -> None:
        self.max_depth = max_depth
        self.verbose = verbose
        self.col_names = col_names
        self.col_width = col_width
        self.row_settings = row_settings
        self.params_units = Units.NONE
        self.macs_units = Units.AUTO
        self.layer_name_width = 40
        self.ascii_only = RowSettings.ASCII_ONLY in row_settings
        self.show_var_name = RowSettings.VAR_NAMES in row_settings
        self.show_depth = RowSettings.DEPTH in row_settings
        self.hide_recursive_layers = RowSettings.HIDE_RECURSIVE_LAYERS in row_settings

    @staticmethod
    def str_(val: Any) -> str:
        """Return a cell of a value, which is ``--`` if there is none."""
        return str(val) if val else NOTHING

    def get_start_str(self, depth: int) -> str:
        """Return the branch of the tree before a row."""
        first, last, between = ("+ ", "+ ", "|    ") if self.ascii_only else ("├─", "└─", "│    ")
        if depth <= 1:
            return first * depth
        return between * (depth - 1) + last

    def set_layer_name_width(self, summary_list: Sequence[LayerInfo], align_val: int = 5) -> None:
        """Widen the first column to the longest cell, in steps of ``align_val``."""
        longest = max(
            (
                len(row.get_layer_name(self.show_var_name, self.show_depth)) + row.depth * align_val + 1
                for row in summary_list
            ),
            default=0,
        )
        if longest >= self.layer_name_width:
            self.layer_name_width = -(-longest // align_val) * align_val

    def get_total_width(self) -> int:
        """Return the width of the lines between the parts of the table."""
        return self.layer_name_width + self.col_width * len(self.col_names)

    def format_row(self, layer_name: str, row_values: Mapping[ColumnSettings, str]) -> str:
        """Return a line of cells."""
        cells = [f"{layer_name:<{self.layer_name_width}}"]
        cells += [f"{row_values.get(column, ''):<{self.col_width}}" for column in self.col_names]
        return " ".join(cells).rstrip() + "\n"

    def header_row(self) -> str:
        """Return the line of titles."""
        shown = [" (var_name)"] * self.show_var_name + [":depth-idx"] * self.show_depth
        return self.format_row(f"Layer (type{''.join(shown)})", HEADER_TITLES)

    def layer_info_to_row(self, layer_info: LayerInfo, reached_max_depth: bool, total_params: int) -> str:
        """Return the line of a row; with ``verbose=2``, those of its parameters too."""
        name = layer_info.get_layer_name(self.show_var_name, self.show_depth)
        cells = {
            ColumnSettings.KERNEL_SIZE: self.str_(layer_info.kernel_size),
            ColumnSettings.INPUT_SIZE: self.str_(layer_info.input_size),
            ColumnSettings.OUTPUT_SIZE: self.str_(layer_info.output_size),
            ColumnSettings.NUM_PARAMS: layer_info.num_params_to_str(reached_max_depth),
            ColumnSettings.PARAMS_PERCENT: layer_info.params_percent(total_params, reached_max_depth),
            ColumnSettings.MULT_ADDS: layer_info.macs_to_str(reached_max_depth),
            ColumnSettings.TRAINABLE: layer_info.trainable,
        }
        lines = [self.format_row(f"{self.get_start_str(layer_info.depth)}{name}", cells)]
        if self.verbose == Verbosity.VERBOSE:
            start = self.get_start_str(layer_info.depth + 1)
            lines += [self.format_row(f"{start}{inner}", cells) for inner, cells in layer_info.inner_layers.items()]
        return "".join(lines)

    def layers_to_str(self, summary_list: Sequence[LayerInfo], total_params: int) -> str:
        """Return the lines of all rows that are shown."""
        return "".join(
            self.layer_info_to_row(row, row.depth == self.max_depth, total_params)
            for row in summary_list
            if row.depth <= self.max_depth and not (self.hide_recursive_layers and row.is_recursive)
        )
