"""How the command line runs models: the options that apply to all targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from opflops.errors import TargetError
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opflops.cli.inputs import InputSpec
    from opflops.cli.progress import Progress
    from opflops.mode import Causal


@dataclass(frozen=True)
class RunOptions:
    """Hold how to make and run models.

    Attributes:
        note: Shows a note to the user.
        progress: Shows what is running.
        input_specs: The inputs that ``--input`` gives.
        batch: The leading size of the inputs; None for the source's.
        dims: The values of ``--dim``.
        at: The sizes of dimensions to show the counts at; None or empty for formulas.
        device: The device to run on; None for meta, or for the CPU if the model cannot be counted on meta.
        dtype: The dtype of models and floating-point inputs; None for the model's own.
        training: Whether to run in training mode; None for training with gradients and evaluation otherwise.
        backward: Whether to count gradients.
        optimizer: Makes the optimizer whose step to count; None for no step.
        optimizer_name: The name of the optimizer's class.
        causal: How to count under a causal mask, as for :class:`opflops.OpFlopMode`.
        time_limit: After how many seconds to stop counting; None for no limit.
        timing: Whether to time operators, which needs a real device.
        memory: Whether to count what is kept in memory.
        allocator: How storages are rounded up, as for :class:`opflops.OpFlopMode`.
        largest: The values of ``--largest``; empty not to search for a size.
        generate: How many tokens to generate after the prompt; None to count one call.
        available: The bytes to fit into; None without ``--fits``.
        no_grad: Whether to run under ``torch.no_grad()``.
    """

    note: Callable[[str], None]
    progress: Progress
    input_specs: Sequence[InputSpec] = ()
    batch: int | None = None
    dims: Sequence[str] = ()
    at: dict[str, int] | None = None
    device: str | None = None
    dtype: torch.dtype | None = None
    training: bool | None = None
    backward: bool = False
    optimizer: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer] | None = None
    optimizer_name: str = ""
    causal: Causal = "dense"
    time_limit: float | None = None
    timing: bool = False
    memory: bool = False
    allocator: str | None = None
    largest: Sequence[str] = ()
    generate: int | None = None
    available: int | None = None
    no_grad: bool = False

    @property
    def run_device(self) -> str | None:
        """Return the device that the model runs on for real; None to count it without running."""
        return self.device if self.device not in (None, "meta") else "cpu" if self.timing else None

    @property
    def needs_gradients(self) -> bool:
        """Tell whether gradients are counted."""
        return self.backward or self.optimizer is not None

    @property
    def is_training(self) -> bool:
        """Tell whether models run in training mode."""
        return self.needs_gradients if self.training is None else self.training


def find_optimizer(name: str) -> Any:
    """Return an optimizer class of ``torch.optim``; upper and lower case are the same.

    Raises:
        TargetError: There is no such optimizer; the message suggests similar names.
    """
    classes = {
        each.__name__: each
        for each in vars(torch.optim).values()
        if isinstance(each, type) and issubclass(each, torch.optim.Optimizer) and each is not torch.optim.Optimizer
    }
    match = next((each for each in classes if each.lower() == name.lower()), None)
    if match is None:
        raise TargetError(unknown("optimizer", name, classes))
    return classes[match]
