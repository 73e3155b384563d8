"""The settings of a summary, by the names that torchinfo gives them."""

from __future__ import annotations

from enum import Enum, IntEnum, unique


class _Setting(str, Enum):
    """A setting that is written as its value; the members of ``(str, Enum)`` are not, from Python 3.11 on."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


@unique
class Mode(_Setting):
    """Say in which mode the model runs; in the mode that each of its modules is in for ``SAME``."""

    TRAIN = "train"
    EVAL = "eval"
    SAME = "same"


@unique
class RowSettings(_Setting):
    """Say what the rows of the table show."""

    DEPTH = "depth"
    VAR_NAMES = "var_names"
    ASCII_ONLY = "ascii_only"
    HIDE_RECURSIVE_LAYERS = "hide_recursive_layers"


@unique
class ColumnSettings(_Setting):
    """Name the columns of the table."""

    KERNEL_SIZE = "kernel_size"
    INPUT_SIZE = "input_size"
    OUTPUT_SIZE = "output_size"
    NUM_PARAMS = "num_params"
    PARAMS_PERCENT = "params_percent"
    MULT_ADDS = "mult_adds"
    TRAINABLE = "trainable"


@unique
class Units(_Setting):
    """Name the units of the totals below the table."""

    AUTO = "auto"
    KILOBYTES = "k"
    MEGABYTES = "M"
    GIGABYTES = "G"
    TERABYTES = "T"
    NONE = ""


@unique
class Verbosity(IntEnum):
    """Say how much is printed."""

    QUIET, DEFAULT, VERBOSE = 0, 1, 2
