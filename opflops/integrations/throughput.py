"""``Throughput``, a meter of training loops."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from opflops.errors import ArgumentError, UsageWarning
from opflops.integrations.input_shapes import shapes_of
from opflops.integrations.rates import DevicePeaks, Window, format_rates, mean_over_ranks
from opflops.integrations.step_clock import StepClock
from opflops.integrations.step_counter import StepCounter
from opflops.integrations.step_hooks import WatchedModel, follow_optimizers, leave_optimizers, trainable
from opflops.records.arguments import describe
from opflops.records.display import repr_text

if TYPE_CHECKING:
    from collections.abc import Hashable
    from types import TracebackType

    from opflops.devices import Device
    from opflops.integrations.step_costs import Work
    from opflops.profile.profile import Profile

# How many kinds of steps are counted before a warning says that most of the time goes into counting.
_MANY = 100


class Throughput:
    """Measure the rates of a training loop: FLOP/s, MFU, HFU, tokens and samples per second.

    >>> import torch
    >>> from opflops.integrations import Throughput
    >>> model = torch.nn.Linear(64, 8, bias=False)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> meter = Throughput(model, device="h100-sxm")
    >>> for _ in range(3):
    ...     x = torch.ones(16, 64)
    ...     with meter.step(samples=len(x)):
    ...         model(x).sum().backward()
    ...         optimizer.step()
    ...         optimizer.zero_grad()
    >>> list(meter.rates())
    ['flops_per_s', 'mfu', 'hfu', 'samples_per_s']
    >>> meter.window.steps, meter.window.flops  # the first of the three was counted
    (2, 67838)

    A step that does something new, such as one with inputs of another shape, is counted by an ``OpFlopMode``. This
    slows it, so it is left out of the rates. All other steps run without a mode, and their cost is looked up by what
    the step does: the shapes with which models are called, which of their parameters are trained, and the optimizers
    that step. Values of tensors are not looked at: of steps that do more or less work by these, as in a mixture of
    experts or by the history of ``LBFGS``, the first stands for all. So does work before the first call of a model,
    unless :meth:`step` is given the batch. An optimizer that makes its state in its first step is counted again in its
    second. One whose ``step`` is compiled is not seen.

    Time is that inside steps, so that what runs between them, such as validation, counts neither as work nor as time;
    loading data counts if it is inside. On an accelerator it is the time on its own clock; only :meth:`rates` waits.

    Args:
        *models: The models that the steps call, compiled and wrapped as they are called. Without any, give
            :meth:`step` the batch.
        device: The device for MFU and HFU: a name in :data:`opflops.devices.DEVICES` or an
            :class:`opflops.devices.Device`; by default the GPU in use. If its peaks are not known, a warning says so
            once, and both are left out.

    Attributes:
        window: What the steps did whose rates were read last.

    Raises:
        ArgumentError: A model is not an ``nn.Module``.
        ProfileError: The device is unknown.
    """

    def __init__(self, *models: nn.Module, device: str | Device | None = None) -> None:
        for model in models:
            if not isinstance(model, nn.Module):
                raise ArgumentError(
                    f"Throughput(...) takes the models that steps call, each an nn.Module, not {describe(model)}. "
                    "Name the device by keyword: Throughput(model, device='h100-sxm')."
                )
        self._models, self._device_given = models, device
        self._peaks = DevicePeaks(device)
        self._counter = StepCounter(self._peaks.measure)
        self._clock = StepClock()
        self._steps = Window()
        self.window = Window()
        self._parameters = [each for model in models for each in model.parameters()]
        self._watched = [WatchedModel(model, self._counter) for model in models]
        self._warned: set[str] = set()
        follow_optimizers(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy counts for itself; hooks and what was counted stay here.
        return _make, (type(self), self._models, self._device_given)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return repr_text(self, include, exclude)

    def __repr__(self) -> str:
        return f"<Throughput: {self}>"

    def __str__(self) -> str:
        """Say what was measured, without reading the rates, so that none is lost."""
        steps = f"{self.counted_steps:,} counted, {self._steps.steps:,} measured since rates() was called"
        rates = self.window.rates(with_utilization=self.window.model_seconds > 0)
        return f"Steps: {steps}. {format_rates(rates)}".rstrip()

    @property
    def profile(self) -> Profile | None:
        """Return the profile of the step that was counted last, or of its new part; None if none was."""
        return self._counter.profile

    @property
    def counted_steps(self) -> int:
        """Return how many steps were counted, as a whole or in part."""
        return self._counter.counted_steps

    def step(self, *inputs: Any, tokens: Any = None, samples: Any = None) -> _Step:
        """Return a block for one step of the loop, or for one of the batches whose gradients a step accumulates.

        An error in the block ends counting, and the step is left out of the rates.

        Args:
            *inputs: The batch, in any nested containers; needed if no model was given, or if there is work before
                the first call of one. Steps with tensors of the same shapes are taken to be equal.
            tokens: How many tokens the step trains on; a number or a tensor with one.
            samples: How many samples it trains on.

        Raises:
            ArgumentError: There are neither models nor inputs, or a number is not one.
        """
        for name, number in (("tokens", tokens), ("samples", samples)):
            if number is not None and not isinstance(number, (int, float, Real, Tensor)):
                raise ArgumentError(f"{name} must be a number, as in step({name}=4096), not {describe(number)}.")
            if isinstance(number, Tensor) and number.numel() != 1:
                raise ArgumentError(f"{name} must be one number, as in step({name}=4096), not {describe(number)}.")
        if not inputs and not self._watched:
            raise ArgumentError(
                "Throughput cannot see the shapes of the inputs. Give it the model, as in Throughput(model), or the "
                "batch, as in meter.step(batch)."
            )
        return _Step(self, shapes_of(inputs) if inputs else None, tokens, samples)

    def rates(self, *, all_ranks: bool = True) -> dict[str, float]:
        """Return the rates of the steps since the last call; empty if all of them were counted.

        Args:
            all_ranks: Whether to return the mean over all processes of ``torch.distributed``, if it is initialized.
                Each must call this then. The rates of each process are those of its own work.

        Returns:
            Some of ``flops_per_s``, ``mfu``, ``hfu``, ``tokens_per_s`` and ``samples_per_s``: those that are known.
        """
        self._steps.seconds = self._clock.take()
        self.window, self._steps = self._steps, Window()
        for name in ("tokens", "samples"):
            number = getattr(self.window, name)
            if isinstance(number, Tensor):
                setattr(self.window, name, number.item())
        rates = self.window.rates(with_utilization=self._peaks.known() is not None)
        return mean_over_ranks(rates) if all_ranks else rates

    def close(self) -> None:
        """Watch models and optimizers no longer."""
        for each in self._watched:
            each.detach()
        leave_optimizers(self)

    # For the integrations, which call these at the events of their loops.

    def start_clock(self) -> None:
        """Begin the time of a step."""
        self._clock.start()

    def start_counting(self, inputs: Hashable = None, trained: bytes | None = None) -> None:
        """Begin to count a step, or a part of one that does not depend on others.

        Args:
            inputs: What decides how much work it is; None if the calls of the models do.
            trained: Which parameters are trained; by default of the models, which their calls tell without inputs.
        """
        if trained is None and inputs is not None:
            trained = trainable(self._parameters)
        self._counter.begin(trained, inputs)

    def stop_counting(self, outcome: Hashable = None) -> Work | None:
        """Return the cost of the step; None if it was counted, or is not known.

        Args:
            outcome: What is known at its end, and decides how much work it was beside its inputs.
        """
        if outcome is not None:
            self._counter.event(("outcome", outcome))
        work = self._counter.end()
        if self.counted_steps > _MANY:
            self._warn_once(
                "many",
                f"Throughput counted {self.counted_steps} steps so far, each with inputs of other shapes. Counted "
                "steps are slow, and in no rate. Pad the inputs to fewer shapes.",
            )
        if self.counted_steps == 1 and self.profile is not None and not self.profile.total.flops:
            self._warn_once(
                "nothing",
                "No arithmetic was seen in the step that was counted. What a CUDA graph replays that was captured "
                "earlier, and what other threads and processes run, cannot be counted.",
            )
        return work

    def stop_clock(self, work: Work | None, tokens: Any = None, samples: Any = None) -> None:
        """End the time of a step, and add the step to the rates if its cost is known."""
        self._clock.stop(keep=work is not None)
        if work is not None:
            self._steps.add(work, tokens, samples)

    def discard_step(self, *exception: Any) -> None:
        """End a step that was not completed."""
        self._counter.abort(*exception)
        self._clock.stop(keep=False)

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(message, UsageWarning, stacklevel=3)

    def calls_seen(self) -> int:
        """Return how often the models were called in steps."""
        return sum(each.calls for each in self._watched)

    def explain_unseen(self) -> None:
        """Watch the models anew, since the step called none; if that changes nothing, say so."""
        attached = [each.attach() for each in self._watched]
        if not any(attached):
            self._warn_once(
                "unseen",
                "Steps that call none of the models are left out of the rates. If compiled code calls them, give the "
                "compiled model, as in Throughput(torch.compile(model)), or the batch, as in meter.step(batch).",
            )


def _make(cls: type[Throughput], models: tuple[nn.Module, ...], device: str | Device | None) -> Throughput:
    return cls(*models, device=device)


class _Step:
    """Be the block of a step."""

    __slots__ = ("_calls", "_inputs", "_meter", "_samples", "_tokens")

    def __init__(self, meter: Throughput, inputs: Hashable, tokens: Any, samples: Any) -> None:
        self._meter, self._inputs, self._tokens, self._samples = meter, inputs, tokens, samples
        self._calls = 0

    def __enter__(self) -> None:
        meter = self._meter
        if meter._counter.is_running():  # noqa: SLF001 - of this file
            raise ArgumentError(
                "A step of this Throughput is running already. End its block before the next begins. Threads that run "
                "at the same time need a Throughput each."
            )
        self._calls = meter.calls_seen()
        meter.start_clock()
        try:
            meter.start_counting(self._inputs)
        except BaseException:
            meter.discard_step()
            raise

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        meter = self._meter
        if not meter._counter.is_running_here() and meter._counter.is_running():  # noqa: SLF001 - as above
            raise ArgumentError("A step of this Throughput began in another thread. End its block in that thread.")
        if cls is not None:
            meter.discard_step(cls, error, traceback)
            return
        work = meter.stop_counting()
        if self._inputs is None and meter.calls_seen() == self._calls:
            meter.explain_unseen()
            work = None
        meter.stop_clock(work, self._tokens, self._samples)
