"""Where models come from: one file for each kind of target.

May import what the command line may; the files beside it in ``cli`` import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opflops.cli.user_code import guard_user_code
from opflops.extras import optional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opflops.cli.arranged import Inputs

    Propose = Callable[[Any, int], "Inputs | None"]


def library(module: str) -> Any:
    """Import what lists and makes the models of a source that is called as its package is.

    Raises:
        MissingExtraError: It is not installed.
        TargetError: It fails to import.
    """
    package = module.partition(".")[0]
    with guard_user_code(f"{package} fails to import"):
        return optional(module, "models", f"The target {package}:NAME")


def nothing_proposed(model: Any, batch: int) -> None:
    """Propose no inputs."""


@dataclass(frozen=True)
class Target:
    """Hold what a target names, before it is made.

    Attributes:
        name: As it was written.
        make: Makes the model, on the default device of PyTorch.
        propose: Makes inputs for a model and a leading size on the default device; None where nobody knows any.
        batch: The leading size where none is asked for.
        ready: Whether the model is there already, on a device of its own.
        modes: Whether the model can be put into training or evaluation mode.
    """

    name: str
    make: Callable[[], Any]
    propose: Propose = nothing_proposed
    batch: int = 1
    ready: bool = False
    modes: bool = True


@dataclass(frozen=True)
class Asked:
    """Hold what was asked of the making of models.

    Attributes:
        arguments: Keyword arguments for what makes a model.
        inputs: Whether inputs were given.
        trust_remote_code: Whether to run code that a configuration brings.
        dtype: What models are to be turned into; None for their own.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: bool = False
    trust_remote_code: bool = False
    dtype: str | None = None
