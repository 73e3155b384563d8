"""What a profile knows of modules beside their work: parameters, buffers, and the shapes of their calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from opflops.records.arguments import explain_methods, no_advice


class TensorShape(NamedTuple):
    """Hold the shape and dtype of a tensor.

    Attributes:
        shape: The sizes: whole numbers, or expressions in the profile's dimensions.
        dtype: Such as ``"float32"``.
    """

    shape: tuple[Any, ...]
    dtype: str


class CallShapes(NamedTuple):
    """Hold what calls of a module were given and returned.

    Attributes:
        inputs: The tensors among the arguments, in order, also those in lists, tuples and dicts.
        outputs: The tensors in the result; none if the call raised.
        calls: How many calls had these.
    """

    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    calls: int = 1


class SharedParameter(NamedTuple):
    """Name a parameter that another module registers too.

    Attributes:
        name: Its name in this module, such as ``"weight"``.
        owner: The path of the first module that registers it, which it counts for.
        elements: How many elements it has.
    """

    name: str
    owner: str
    elements: int


@explain_methods(no_advice)
@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """Hold what is known of one module, without the modules below it.

    Attributes:
        module: Its path, as in :class:`opflops.Row`.
        module_type: Its class name.
        parameters: The elements of the parameters that it registers. One that several modules share counts for the
            first of them in the order of ``named_modules()``.
        trainable: Those that require a gradient.
        parameter_bytes: Their bytes.
        buffers: The elements of the buffers that it registers; shared ones as parameters.
        buffer_bytes: Their bytes.
        shared: The parameters that count for another module.
        calls: The shapes of its calls, in order of first appearance; none if it was not called.
    """

    module: str
    module_type: str
    parameters: int = 0
    trainable: int = 0
    parameter_bytes: int = 0
    buffers: int = 0
    buffer_bytes: int = 0
    shared: tuple[SharedParameter, ...] = ()
    calls: tuple[CallShapes, ...] = ()
