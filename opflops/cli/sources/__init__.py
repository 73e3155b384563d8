"""The sources of models: one file for each kind of target.

May import what the command line may; the other files in ``cli`` import it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opflops.cli.user_code import guard_user_code
from opflops.errors import TargetError
from opflops.extras import optional

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from opflops.cli.call_arguments import CallArguments


def import_library(module: str) -> Any:
    """Import a library of models, such as ``timm``, whose targets have its name as a prefix.

    Raises:
        MissingExtraError: It is not installed.
        TargetError: It fails to import.
    """
    package = module.partition(".")[0]
    with guard_user_code(f"{package} fails to import"):
        return optional(module, "models", f"The target {package}:NAME")


def propose_nothing(model: Any, batch: int) -> None:
    """Propose no inputs."""


def accept_any(model: Any) -> None:
    """Accept inputs of any name for a model that takes ``**kwargs``."""


@dataclass(frozen=True)
class Target:
    """Hold what a target names, before the model is made.

    Attributes:
        name: The target as the user wrote it.
        make: Makes the model, on PyTorch's default device.
        propose_inputs: Makes example inputs for a model and a leading size, on PyTorch's default device; None if the
            source has none.
        batch: The leading size without ``--batch``.
        exists: Whether the model exists already, on a device of its own.
        has_training_mode: Whether ``train()`` and ``eval()`` work on the model.
        hint: What to try if the model fails, as a sentence.
        find_keywords: Lists the inputs that a model takes through ``**kwargs``; None if it may take any.
    """

    name: str
    make: Callable[[], Any]
    propose_inputs: Callable[[Any, int], CallArguments | None] = propose_nothing
    batch: int = 1
    exists: bool = False
    has_training_mode: bool = True
    hint: str = ""
    find_keywords: Callable[[Any], Collection[str] | None] = accept_any

    @contextmanager
    def hints(self) -> Iterator[None]:
        """Add the hint to errors of the model.

        Raises:
            TargetError: The model cannot be made or called.
        """
        try:
            yield
        except TargetError as error:
            if not self.hint or error.__cause__ is None:
                raise
            raise TargetError(f"{error} {self.hint}") from error.__cause__


@dataclass(frozen=True)
class ModelRequest:
    """Hold the options for making models.

    Attributes:
        arguments: The keyword arguments that ``--arg`` gives for the class or factory.
        has_inputs: Whether ``--input`` is given.
        trust_remote_code: Whether to run code that comes with a configuration or file.
        dtype: The dtype that models are converted to; None for their own.
        ids_shape: The shape of the token ids that ``--input`` gives; None without them, or with images or sounds.
        generate: How many tokens ``--generate`` adds to the prompt.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    has_inputs: bool = False
    trust_remote_code: bool = False
    dtype: str | None = None
    ids_shape: tuple[int, int] | None = None
    generate: int = 0
