"""thop's rules by name, as values of ``custom_ops``: each but ``zero_ops`` means "count the operators that run"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.compat.thop.vision.calc_func import calculate_parameters
from opflops.errors import OpflopsError

if TYPE_CHECKING:
    from torch import nn


class RuleError(OpflopsError):
    """Report a rule of thop that was called by a hook, instead of being given to ``custom_ops``."""


class CountedByOperators:
    """Stand for a rule of thop where opflops counts the operators that the module runs."""

    def __init__(self, name: str) -> None:
        self.__name__ = self.__qualname__ = name

    def __call__(self, m: nn.Module, *_: Any) -> None:
        """Refuse to be called.

        Raises:
            RuleError: Always.
        """
        raise RuleError(
            f"{self.__name__}() of opflops cannot be called by another hook, since opflops counts operators after the "
            f"model has run. Give {self.__name__} itself as custom_ops={{{type(m).__name__}: {self.__name__}}}, or "
            "leave the class out of custom_ops."
        )


def zero_ops(m: Any, x: Any, y: Any) -> None:
    """Count the module, with all modules below it, as nothing."""


def count_parameters(m: Any, x: Any, y: Any) -> None:  # noqa: ARG001 - the parameters of a hook
    """Write the parameters of a module to its ``total_params``."""
    m.total_params[0] = calculate_parameters(m.parameters())


multiply_adds = 1
"""What a multiply-accumulate counts as."""

count_convNd = CountedByOperators("count_convNd")  # noqa: N816 - the name of thop
count_convNd_ver2 = CountedByOperators("count_convNd_ver2")  # noqa: N816
count_normalization = CountedByOperators("count_normalization")
count_prelu = CountedByOperators("count_prelu")
count_relu = CountedByOperators("count_relu")
count_softmax = CountedByOperators("count_softmax")
count_avgpool = CountedByOperators("count_avgpool")
count_adap_avgpool = CountedByOperators("count_adap_avgpool")
count_upsample = CountedByOperators("count_upsample")
count_linear = CountedByOperators("count_linear")
