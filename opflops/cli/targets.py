"""Targets as the command line names them, each looked up where its form says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.errors import TargetError

if TYPE_CHECKING:
    from opflops.cli.sources import Asked, Target
    from opflops.profile import Profile

SOURCES = ("torchvision", "timm", "hf")
_WEIGHTS = (".pt", ".pth", ".safetensors", ".bin", ".ckpt")


def find(text: str, asked: Asked) -> Target | Profile:
    """Find what a target names: a model to be made, or a profile that was saved.

    Raises:
        TargetError: It names nothing; the message says what would be right.
        MissingExtraError: The package that it is from is not installed.
    """
    prefix, _, rest = text.partition(":")
    # Sources load packages of their own, so each is imported for itself.
    if prefix == "torchvision" and rest:
        from opflops.cli.sources import torchvision_models  # noqa: PLC0415 - see above

        return torchvision_models.find(rest, asked)
    if prefix == "timm" and rest:
        from opflops.cli.sources import timm_models  # noqa: PLC0415 - see above

        return timm_models.find(rest, asked)
    if prefix == "hf" and rest:
        from opflops.cli.sources import huggingface  # noqa: PLC0415 - see above

        return huggingface.find(rest, asked)
    if text.endswith(".pt2"):
        from opflops.cli.sources import exported  # noqa: PLC0415 - see above

        return exported.find(text, asked)
    if text.endswith(".json"):
        from opflops.cli.sources import saved  # noqa: PLC0415 - see above

        return saved.load(text)
    if text.endswith(_WEIGHTS):
        raise TargetError(
            f"{text} looks like weights, which do not say what is computed with them; name what makes the model, "
            "or a program that torch.export.save wrote to a .pt2 file."
        )
    from opflops.cli.sources import python_code  # noqa: PLC0415 - see above

    return python_code.find(text, asked)
