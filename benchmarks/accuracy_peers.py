"""Call each FLOP counter, and convert its figure: how it is called, what it prints, and what that number means.

Every figure is converted to multiply-accumulates. A peer whose one number includes more than contractions (bias adds,
norms, activations) has ``has_other_work``. A peer is called as its documentation says, with its defaults. The import is
part of the call, so a peer need not be installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from accuracy_cases import run
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from opflops import OpFlopMode

if TYPE_CHECKING:
    from collections.abc import Callable


class Reading(NamedTuple):
    """Hold the figures of a counter.

    Attributes:
        macs: Its multiply-accumulates; None if it does not support such a case.
        ops: Its elementwise operations; None if it does not count them.
        other_work: All work outside contractions; only opflops gives it.
    """

    macs: float | None
    ops: float | None = None
    other_work: int = 0


NOTHING = Reading(None)


@dataclass(frozen=True)
class Peer:
    """Hold a counter.

    Attributes:
        read: Counts a model; takes the model, its inputs, and whether to count a training step.
        distribution: The name of its package.
        has_other_work: Whether its number of multiply-accumulates includes other work.
    """

    read: Callable[[nn.Module, tuple[Tensor, ...], bool], Reading]
    distribution: str
    has_other_work: bool = False

    @property
    def version(self) -> str | None:
        """Return the installed version."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None


class Named(nn.Module):
    """Take inputs by name and pass them by position; the one parameter is not used.

    ptflops divides by the length of the first positional input, and calflops needs a parameter to find the device.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, **inputs: Tensor) -> Any:
        """Run the model."""
        return self.model(*inputs.values())


def named(inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Return the inputs by made-up names."""
    return {f"input_{index}": value for index, value in enumerate(inputs)}


def opflops(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Reading:
    """Prints multiply-accumulates and other operations separately."""
    with OpFlopMode() as mode:
        run(model, inputs, training=training)
    return Reading(mode.total.macs, mode.total.ops, mode.total.ops + mode.total.transcendentals)


def torch_counter(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Reading:
    """Prints two operations per multiply-accumulate."""
    with FlopCounterMode(display=False) as mode:
        run(model, inputs, training=training)
    return Reading(mode.get_total_flops() / 2)


def fvcore(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Reading:
    """Prints multiply-accumulates, with normalisation and resampling in the same number."""
    from fvcore.nn import FlopCountAnalysis  # noqa: PLC0415

    if training:
        return NOTHING
    return Reading(FlopCountAnalysis(model, inputs).total())


def _ptflops(model: nn.Module, inputs: tuple[Tensor, ...], training: bool, backend: str) -> float | None:
    from ptflops import get_model_complexity_info  # noqa: PLC0415

    if training:
        return None
    macs, _ = get_model_complexity_info(
        Named(model),
        (1,),
        input_constructor=lambda _: named(inputs),
        backend=backend,
        as_strings=False,
        print_per_layer_stat=False,
    )
    if macs is None:
        raise RuntimeError("ptflops could not count it")
    return macs


def ptflops(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Reading:
    """Prints multiply-accumulates, with biases, normalisation and activations in the same number."""
    macs = _ptflops(model, inputs, training, "pytorch")
    return Reading(macs, macs)


def ptflops_aten(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Reading:
    """Prints multiply-accumulates, with biases in the same number."""
    return Reading(_ptflops(model, inputs, training, "aten"))


def thop(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Reading:
    """Prints multiply-accumulates, with normalisation, pooling and softmax modules in the same number."""
    from thop import profile  # noqa: PLC0415

    return NOTHING if training else Reading(profile(model, inputs, verbose=False)[0])


def deepspeed(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Reading:
    """Prints multiply-accumulates, and operations with elementwise work in them."""
    from deepspeed.profiling.flops_profiler import get_model_profile  # noqa: PLC0415

    if training:
        return NOTHING
    flops, macs, _ = get_model_profile(model, args=list(inputs), print_profile=False, as_string=False)
    return Reading(macs, flops - 2 * macs)


def torchinfo(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Reading:
    """Prints multiply-accumulates, with biases in the same number."""
    from torchinfo import summary  # noqa: PLC0415

    return NOTHING if training else Reading(summary(model, input_data=list(inputs), verbose=0).total_mult_adds)


def calflops(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Reading:
    """Prints multiply-accumulates, and operations with elementwise work in them; a backward pass is twice a forward."""
    from calflops import calculate_flops  # noqa: PLC0415

    flops, macs, _ = calculate_flops(
        Named(model),
        kwargs=named(inputs),
        include_backPropagation=training,
        print_results=False,
        output_as_string=False,
    )
    return Reading(macs, flops - 2 * macs)


PEERS: dict[str, Peer] = {
    "opflops": Peer(opflops, "opflops"),
    "torch": Peer(torch_counter, "torch"),
    "fvcore": Peer(fvcore, "fvcore", has_other_work=True),
    "ptflops": Peer(ptflops, "ptflops", has_other_work=True),
    "ptflops-aten": Peer(ptflops_aten, "ptflops", has_other_work=True),
    "thop": Peer(thop, "thop", has_other_work=True),
    "deepspeed": Peer(deepspeed, "deepspeed"),
    "torchinfo": Peer(torchinfo, "torchinfo", has_other_work=True),
    "calflops": Peer(calflops, "calflops"),
}
