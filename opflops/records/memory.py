"""What a block kept in memory: the peak, what it consists of, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileArgumentError
from opflops.records.arguments import explain_methods, no_advice
from opflops.records.display import Displayed, repr_html, repr_text
from opflops.records.fit import Fit, find_capacity
from opflops.wording import printable

if TYPE_CHECKING:
    from opflops.records.datasheets import Device

CATEGORIES = ("parameters", "gradients", "optimizer", "buffers", "inputs", "activations", "temporaries")
"""The categories of live bytes, in the order of reports."""

ALLOCATORS = {"cuda": 512}
"""The allocators that are known, with the number of bytes that sizes are rounded up to multiples of."""


class LiveBytes(NamedTuple):
    """Hold live bytes by category; they sum to :attr:`total`.

    Attributes:
        parameters: Parameters of the modules that were called.
        gradients: Tensors that are the ``grad`` of a leaf, or become it, from the time that they are made.
        optimizer: The state of optimizers that made a step.
        buffers: Buffers of the modules that were called.
        inputs: Other tensors from outside the block.
        activations: Tensors made inside the block that autograd keeps for a backward pass.
        temporaries: All others that were made inside the block, such as results that only the program refers to.
    """

    parameters: int = 0
    gradients: int = 0
    optimizer: int = 0
    buffers: int = 0
    inputs: int = 0
    activations: int = 0
    temporaries: int = 0

    @property
    def total(self) -> int:
        """Return the sum over all categories."""
        return sum(self)

    def _repr_html_(self) -> str:
        return repr_html(self)


_NOTHING = LiveBytes()


class Moment(NamedTuple):
    """Say after which operator a moment was.

    Attributes:
        module: The path of the module that called the operator; "" outside any.
        op: The operator, such as ``"aten.mm"``.
        phase: As in :class:`opflops.Row`.
        source: The line of the program, such as ``"model.py:12"``; "" if it is not known.
        number: How many operators had run before it in the block.
    """

    module: str
    op: str
    phase: str
    source: str = ""
    number: int = 0

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return repr_text(self, include, exclude)

    def __str__(self) -> str:
        """Write the moment in a few words.

        >>> str(Moment("Net.fc", "aten.mm", "backward", "model.py:12"))
        'after aten.mm in Net.fc (backward), model.py:12'
        """
        inside = f" in {self.module}" if self.module else ""
        return f"after {self.op}{inside} ({self.phase}){', ' * bool(self.source)}{self.source}"


class Sample(NamedTuple):
    """Hold one point of a timeline: the live bytes after an operator.

    Attributes:
        at: The operator. Of a stretch of several, the one after which most was live.
        live: What was live after it.
    """

    at: Moment
    live: LiveBytes


@explain_methods(no_advice, ProfileArgumentError)
@dataclass(frozen=True)
class Memory(Displayed):
    """Hold what a block kept in memory on one device, in bytes, by lifetime of storages.

    A storage counts once, however many tensors share it, from the operator that made it until nothing refers to it.
    Storages from outside that the block uses count from its beginning. What kernels use inside is not seen.

    Attributes:
        device: The device, such as ``"cpu"`` or ``"cuda:0"``; of several, the one with the highest peak.
        peak: The highest number of live bytes between two operators.
        at: The operator after which it was reached; None if none ran.
        at_peak: What was live then, by category; also available as attributes of this object, as in ``parameters``.
        end_of_forward: The live bytes when a backward pass began, or else when the outermost module returned; the
            highest of several. 0 if no module was called.
        phase_peaks: The peak in each phase.
        saved: The bytes that each module's own operators keep for the backward pass at :attr:`end_of_forward`, by
            module path; a storage that several keep counts for the first.
        module_peaks: The highest number of live bytes while a module or one below it ran, by module path.
        timeline: The live bytes after each operator, thinned.
        allocator: ``"cuda"`` if each storage is rounded up as by PyTorch's allocator for CUDA, else "".
        others: The same for the other devices.
        remarks: Sentences on what is not seen.
    """

    device: str = "cpu"
    peak: int = 0
    at: Moment | None = None
    at_peak: LiveBytes = _NOTHING
    end_of_forward: int = 0
    phase_peaks: dict[str, int] = field(default_factory=dict, hash=False)
    saved: dict[str, int] = field(default_factory=dict, hash=False)
    module_peaks: dict[str, int] = field(default_factory=dict, hash=False)
    timeline: tuple[Sample, ...] = ()
    allocator: str = ""
    others: tuple[Memory, ...] = ()
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write the peaks, and what was live at the highest one, in a few lines, without the timeline.

        >>> moment = Moment("Net.fc", "aten.mm", "backward")
        >>> print(Memory("cpu", 5_000, moment, LiveBytes(parameters=4_000, activations=1_000), end_of_forward=4_500))
        memory on cpu: peak 5,000 bytes, after aten.mm in Net.fc (backward)
        live at the peak: parameters 4,000, activations 1,000
        end of forward: 4,500 bytes
        """
        return "\n".join(map(printable, self._lines()))

    def __repr__(self) -> str:
        return f"<{printable(self._lines()[0])}>"

    def _lines(self) -> list[str]:
        live = [f"{name} {size:,}" for name, size in zip(CATEGORIES, self.at_peak, strict=True) if size]
        return [
            f"memory on {self.device}: {_peak(self)}",
            *([f"live at the peak: {', '.join(live)}"] if live else []),
            *([f"end of forward: {_bytes(self.end_of_forward)}"] if self.end_of_forward else []),
            *(f"{each.device}: {_peak(each)}" for each in self.others),
            *([f"timeline: {_plural(len(self.timeline), 'sample')}"] if self.timeline else []),
        ]

    @property
    def parameters(self) -> int:
        """Return the bytes of parameters at the peak."""
        return self.at_peak.parameters

    @property
    def gradients(self) -> int:
        """Return the bytes of gradients at the peak."""
        return self.at_peak.gradients

    @property
    def optimizer(self) -> int:
        """Return the bytes of the optimizer's state at the peak."""
        return self.at_peak.optimizer

    @property
    def buffers(self) -> int:
        """Return the bytes of buffers at the peak."""
        return self.at_peak.buffers

    @property
    def inputs(self) -> int:
        """Return the bytes at the peak of other tensors from outside the block."""
        return self.at_peak.inputs

    @property
    def activations(self) -> int:
        """Return the bytes at the peak that autograd keeps for a backward pass."""
        return self.at_peak.activations

    @property
    def temporaries(self) -> int:
        """Return the bytes at the peak of all other tensors that were made inside the block."""
        return self.at_peak.temporaries

    def saved_by_module(self) -> dict[str, int]:
        """Return how many bytes each module's own operators keep for the backward pass, largest first.

        To checkpoint a module frees what it and the modules below it keep, and recomputes it.
        """
        return dict(sorted(self.saved.items(), key=lambda item: -item[1]))

    def fits(self, device: str | Device | float) -> Fit:
        """Tell whether the peak fits into the memory of a device; printing the result says by how much.

        If tensors were on several devices, the peak is that of the accelerator that needs most, and not of the CPU.

        >>> str(Memory(peak=61_300_000_000).fits("h100-sxm"))
        '61.3 of 80 GB: fits'
        >>> bool(Memory(peak=91_200_000_000).fits(80e9))
        False

        Args:
            device: A name, such as ``"h100-sxm"``, an :class:`opflops.Device`, or a size: a number of bytes, or text
                such as ``"24 GB"`` or ``"16GiB"``.

        Raises:
            ProfileError: The device is unknown, or it is not known how much memory it has.
        """
        name, available = find_capacity(device)
        needing = self.on_accelerator()
        steps_on_cpu = "optimizer" in needing.phase_peaks and needing.device.partition(":")[0] in ("cpu", "meta")
        return Fit(needing.peak, available, name, self.allocator, steps_on_cpu)

    def on_accelerator(self) -> Memory:
        """Return what was kept on the accelerator that needs most; this object if all was on the CPU."""
        accelerators = [each for each in (self, *self.others) if each.device.partition(":")[0] != "cpu"]
        return max(accelerators, key=lambda each: each.peak, default=self)


def _peak(memory: Memory) -> str:
    return f"peak {_bytes(memory.peak)}{'' if memory.at is None else f', {memory.at}'}"


def _bytes(size: int) -> str:
    return _plural(size, "byte")


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
