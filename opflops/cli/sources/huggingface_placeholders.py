"""Give text models images and sounds: as many placeholder tokens as the towers make embeddings."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from opflops.cli.sources.huggingface_fields import placeholder_field
from opflops.counting.count import count
from opflops.errors import OpflopsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.cli.sources.huggingface_tensors import InputMaker

MODALITIES = {
    "image": ("pixel_values",),
    "video": ("pixel_values_videos",),
    "audio": ("input_features", "input_values"),
}
_KINDS = {"text": 0, "image": 1, "video": 2, "audio": 3}
_NOT_BESIDE = ("attention_mask", "input_ids")
_KINDS_INPUT = "mm_token_type_ids"


def multimodal_inputs(maker: InputMaker) -> tuple[dict[str, Tensor], str] | None:
    """Make a text with images or sounds in it.

    Returns:
        The inputs by name and a sentence about the placeholder tokens; None if the model replaces no tokens.
    """
    inputs: dict[str, Tensor] = {}
    runs: list[tuple[str, int, int]] = []
    sentences = []
    is_text_only = False
    for modality, mains in MODALITIES.items():
        found = placeholder_field(maker.fields, modality)
        features = _features_method(maker.fields.model, modality)
        main = next((each for each in mains if each in maker.fields.parameters), None)
        if found is None or main is None or (modality == "video" and not _has_video_tower(maker.fields.model)):
            continue
        if _lacks_tower(maker.fields.model, modality):
            is_text_only = True
            continue
        queries = maker.fields.integer("num_query_tokens", default=0) if modality == "image" else 0
        if features is None and not queries:
            continue
        token, remark = _valid_token(maker, *found, len(runs))
        # A query transformer makes as many embeddings as it has queries, of any image.
        counted = ({main: maker.make(main)}, queries) if features is None else _count_rows(maker, features, main)
        if isinstance(counted, str):
            sentences.append(f"no {modality}, since its features fail: {counted}")
            continue
        made, tokens = counted
        inputs |= made
        if "feature_attention_mask" in maker.fields.parameters and modality == "audio":
            inputs["feature_attention_mask"] = maker.make("feature_attention_mask")
        runs.append((modality, token, tokens))
        shape = ",".join(map(str, made[main].shape))
        sentences.append(f"{modality} {shape}: {tokens} placeholder tokens{remark}")
    if not runs:
        return ({}, "; ".join(sentences)) if sentences or is_text_only else None
    text = maker.text_beside(sum(number for _, _, number in runs))
    ids = [torch.full((maker.batch, number), token, dtype=torch.int64, device="cpu") for _, token, number in runs]
    together = {"input_ids": torch.cat([*ids, text], 1)}
    if _KINDS_INPUT in maker.fields.parameters:
        kinds = [torch.full_like(part, _KINDS[modality]) for part, (modality, _, _) in zip(ids, runs, strict=True)]
        together[_KINDS_INPUT] = torch.cat([*kinds, torch.zeros_like(text)], 1)
    if {"image_grid_thw", "position_ids"} <= set(maker.fields.parameters) and maker.fields.checks("mrope"):
        # Of the time, the row and the column; the model would otherwise compute them from values, token by token.
        positions = torch.arange(together["input_ids"].shape[1], device="cpu")
        together["position_ids"] = positions.expand(3, maker.batch, -1)
    return {**together, **inputs}, "; ".join(sentences)


def _owners(model: Any) -> tuple[Any, ...]:
    """Return what may have the towers: the model, the one that its head is on, or the one that it wraps."""
    wrapped = getattr(model, "vlm", None)
    return (*(getattr(each, "model", None) for each in (model, wrapped)), model, wrapped)


def _lacks_tower(model: Any, modality: str) -> bool:
    """Return whether the configuration of a model leaves the tower of a modality out."""
    towers = ("audio_tower", "embed_audio") if modality == "audio" else ("vision_tower", "embed_vision")
    return any(getattr(owner, tower, "") is None for owner in _owners(model) for tower in towers)


def _has_video_tower(model: nn.Module) -> bool:
    """Return whether videos have a tower of their own; in most models they are images for the same tower."""
    return any(path.rpartition(".")[2] == "video_tower" for path, _ in model.named_modules())


def _features_method(model: Any, modality: str) -> Callable[..., Any] | None:
    """Find the method that computes the embeddings that replace placeholder tokens."""
    name = f"get_{modality}_features"
    for owner in _owners(model):
        method = getattr(owner, name, None)
        if isinstance(owner, nn.Module) and method is not None:
            return method  # type: ignore[no-any-return]  # a method of transformers, which has no types here
        tower = getattr(owner, f"{modality}_tower", None)
        if isinstance(tower, nn.Module):
            return tower.forward
    return None


def _valid_token(maker: InputMaker, configuration: Any, field: str, taken: int) -> tuple[int, str]:
    """Return the placeholder token; the last one of the vocabulary if the configuration has none in it."""
    token = getattr(configuration, field)
    vocabulary = maker.fields.integer("vocab_size", part="text", default=0)
    if isinstance(token, int) and (not vocabulary or 0 <= token < vocabulary):
        return token, ""
    setattr(configuration, field, vocabulary - 1 - taken)
    reason = "there is none in its configuration" if token is None else f"{field}={token} is not in the vocabulary"
    return vocabulary - 1 - taken, f" {vocabulary - 1 - taken} ({reason})"


def _count_rows(maker: InputMaker, method: Callable[..., Any], main: str) -> tuple[dict[str, Tensor], int] | str:
    """Make the inputs of a method, and count the embeddings that it makes for one text.

    Returns:
        The inputs and the count; why it failed, if it did with all inputs that it takes and with its required ones.
    """
    parameters = inspect.signature(method).parameters
    names = [name for name in (main, *parameters) if name in maker.fields.parameters and name not in _NOT_BESIDE]
    known = [name for name in dict.fromkeys(names) if name == main or maker.has_rule(name)]
    needed = [name for name in known if name == main or parameters[name].default is inspect.Parameter.empty]
    failure = ""
    # A tower's output is projected later.
    is_tower = isinstance(getattr(method, "__self__", None), nn.Module) and method.__name__ == "forward"
    width = 0 if is_tower else maker.fields.integer("hidden_size", part="text", default=0)
    for chosen in dict.fromkeys((tuple(known), tuple(needed))):
        made = {name: maker.make(name) for name in chosen}
        found = _rows_made(method, main, made, width)
        if isinstance(found, int):
            # Some models pad their sounds to a number of tokens afterwards.
            padded = maker.fields.integer("audio_soft_tokens_per_image", default=0) if "audio" in method.__name__ else 0
            return made, padded or found // maker.batch
        failure = failure or found
    return failure


def _rows_made(method: Callable[..., Any], main: str, inputs: dict[str, Tensor], width: int) -> int | str:
    """Return how many embeddings a method makes, or why they are not of the width of the text's."""
    found: list[Tensor] = []
    parameters = list(inspect.signature(method).parameters)
    # A tower calls its first parameter as it likes.
    names = {main: main if main in parameters or not parameters else parameters[0]}

    def run(**tensors: Tensor) -> None:
        made = method(**tensors)
        for name in ("pooler_output", "last_hidden_state"):
            if getattr(made, name, None) is not None:
                made = getattr(made, name)
                break
        found.extend(_tensors(made))

    try:
        # Of what the method computes from sizes, a count knows the values on the CPU, not on meta.
        with torch.device("cpu"):
            count(run, device="cpu", kwargs={names.get(name, name): value for name, value in inputs.items()})
    except (OpflopsError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        return " ".join(str(error).split())[:160]
    widths = {each.shape[-1] for each in found}
    if width and widths != {width} and not _has_projection(method, widths, width):
        written = " and ".join(map(str, sorted(widths)))
        return (
            f"they have {written} values, and the embeddings of the text {width}; change one of the two configurations"
        )
    return sum(each.numel() // each.shape[-1] for each in found)


def _has_projection(method: Callable[..., Any], widths: set[int], width: int) -> bool:
    """Return whether the model has a layer that projects what a method makes to the width of the text."""
    owner = getattr(method, "__self__", None)
    layers = owner.modules() if isinstance(owner, nn.Module) else ()
    pairs = {(each.in_features, each.out_features) for each in layers if isinstance(each, nn.Linear)}
    projector = getattr(owner, "multi_modal_projector", None)
    return projector is not None and any((each, width) in pairs for each in widths)


def _tensors(made: Any) -> list[Tensor]:
    if isinstance(made, Tensor):
        return [made]
    return [tensor for each in made for tensor in _tensors(each)]
