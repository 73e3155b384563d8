"""Give text models images and sounds: as many placeholder tokens as the towers make embeddings."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from opflops.cli.sources.huggingface_fields import placeholder_token
from opflops.counting.count import count
from opflops.errors import OpflopsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.cli.sources.huggingface_tensors import InputMaker

MODALITIES = {"image": ("pixel_values",), "audio": ("input_features", "input_values")}
_KINDS = {"text": 0, "image": 1, "video": 2, "audio": 3}
_KINDS_INPUT = "mm_token_type_ids"


def multimodal_inputs(maker: InputMaker) -> tuple[dict[str, Tensor], str] | None:
    """Make a text with images or sounds in it.

    Returns:
        The inputs by name and a sentence about the placeholder tokens; None if the model replaces no tokens.
    """
    inputs: dict[str, Tensor] = {}
    runs: list[tuple[str, int, int]] = []
    sentences = []
    for modality, mains in MODALITIES.items():
        token = placeholder_token(maker.fields, modality)
        features = _features_method(maker.fields.model, modality)
        main = next((each for each in mains if each in maker.fields.parameters), None)
        if token is None or features is None or main is None:
            continue
        made = _inputs_of(maker, features, main)
        tokens = _rows_made(maker, features, made)
        if not tokens:
            continue
        inputs |= made
        runs.append((modality, token, tokens))
        shape = ",".join(map(str, made[main].shape))
        sentences.append(f"{modality} {shape}: {tokens} placeholder tokens")
    if not runs:
        return None
    text = maker.ids()
    ids = [torch.full((maker.batch, number), token, dtype=torch.int64, device="cpu") for _, token, number in runs]
    together = {"input_ids": torch.cat([*ids, text], 1)}
    if _KINDS_INPUT in maker.fields.parameters:
        kinds = [torch.full_like(part, _KINDS[modality]) for part, (modality, _, _) in zip(ids, runs, strict=True)]
        together[_KINDS_INPUT] = torch.cat([*kinds, torch.zeros_like(text)], 1)
    return {**together, **inputs}, "; ".join(sentences)


def _features_method(model: Any, modality: str) -> Callable[..., Any] | None:
    """Find the method that computes the embeddings that replace placeholder tokens."""
    name = f"get_{modality}_features"
    for owner in (getattr(model, "model", None), getattr(model, "thinker", None), model):
        method = getattr(owner, name, None)
        if isinstance(owner, nn.Module) and method is not None:
            return method  # type: ignore[no-any-return]  # a method of transformers, which has no types here
    return None


def _inputs_of(maker: InputMaker, method: Callable[..., Any], main: str) -> dict[str, Tensor]:
    """Make the main input and those beside it that both the method and the model take."""
    names = [name for name in inspect.signature(method).parameters if name in maker.fields.parameters]
    beside = [name for name in names if name != main and name not in ("attention_mask", "input_ids")]
    return {name: maker.make(name) for name in (main, *beside) if name == main or maker.has_rule(name)}


def _rows_made(maker: InputMaker, method: Callable[..., Any], inputs: dict[str, Tensor]) -> int | None:
    """Return how many embeddings the method makes for one text; None if it fails."""
    found: list[int] = []

    def run() -> None:
        made = method(**inputs)
        for name in ("pooler_output", "last_hidden_state"):
            if getattr(made, name, None) is not None:
                made = getattr(made, name)
                break
        found.append(_rows(made))

    try:
        count(run, device="cpu")
    except OpflopsError:
        return None
    return found[0] // maker.batch


def _rows(made: Any) -> int:
    if isinstance(made, Tensor):
        return made.numel() // max(1, made.shape[-1])
    return sum(_rows(each) for each in made)
