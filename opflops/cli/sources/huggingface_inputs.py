"""Example inputs for transformers models, with sizes from their configurations."""

from __future__ import annotations

from typing import Any

import torch

from opflops.cli.call_arguments import CallArguments
from opflops.cli.sources.huggingface_fields import Fields
from opflops.cli.sources.huggingface_placeholders import multimodal_inputs
from opflops.cli.sources.huggingface_tensors import InputMaker

_ORIGIN = "from its configuration"
# What the model works on, each in the parameter that processors fill; a model that takes several gets them all.
_DATA = ("input_ids", "bbox", "pixel_values", "flattened_patches", "input_features", "input_values", "past_values")
# What images come with where no placeholder tokens stand for them.
_BESIDE = ("aspect_ratio_ids", "aspect_ratio_mask", "cross_attention_mask", "image_embeds_position_mask")
# Alternatives of the data, what is computed from it, and what only training uses.
_NOT_DATA = (
    "labels",
    "masked_pos",
    "_points",
    "_boxes",
    "_masks",
    "_mask",
    "_embeds",
    "_embeddings",
    "position_ids",
    "token_type_ids",
    "encoder_outputs",
    "head_mask",
    "cache",
)


def propose_inputs(model: Any, batch: int) -> CallArguments | None:
    """Make the model's main input, the inputs of its other modalities, and what else it requires.

    Returns:
        The inputs by name; None if it is not known how to make them.
    """
    fields = Fields(model)
    maker = InputMaker(fields, batch)
    main = getattr(model, "main_input_name", "input_ids")
    multimodal = multimodal_inputs(maker)
    made, sentence = multimodal or ({}, "")
    if multimodal and not made and "input_ids" in fields.parameters:
        main = "input_ids"
    data = [] if multimodal else [name for name in _DATA if name in fields.parameters]
    if getattr(fields.configuration, "is_encoder_decoder", False) and main != "input_ids":
        # Ids would be an alternative to what the encoder reads.
        data = [name for name in data if name != "input_ids"]
    if "input_values_cutoffs" in fields.parameters:
        # Such sounds are cut into pieces at values, and stand for placeholder tokens that the text has not.
        data = [name for name in data if name != "input_values"]
    beside = [name for name in _BESIDE if name in fields.parameters and "pixel_values" in data]
    if "pixel_values" in data and fields.checks("pixel_values.flatten(0, 1)"):
        # Only models of several images for a text mask them by token; for others, this mask is one of patches.
        beside += [name for name in ("image_attention_mask",) if name in fields.parameters]
    names = dict.fromkeys([main, *data, *beside, *_required(fields), *_documented_as_required(fields, maker)])
    wanted = [name for name in names if name in fields.parameters or name == main]
    if all(name in made or (name in fields.parameters and maker.can_make(name)) for name in wanted):
        # In this order: what is made for placeholder tokens, then what stands beside it.
        made |= {name: maker.make(name) for name in wanted if name not in made}
        return CallArguments((), made, f"{_ORIGIN}; {sentence}" if sentence else _ORIGIN)
    return _dummy_inputs(model, batch)


def _required(fields: Fields) -> list[str]:
    """List the parameters without a default, and the input of a decoder."""
    required = [name for name in fields.parameters if fields.requires(name)]
    if getattr(fields.configuration, "is_encoder_decoder", False):
        required += [name for name in ("decoder_input_ids", "decoder_input_values") if name in fields.parameters]
    return required


def _documented_as_required(fields: Fields, maker: InputMaker) -> list[str]:
    """List the parameters that have a default, and that the documentation does not call optional."""
    return [
        name
        for name in fields.parameters
        if not name.endswith(_NOT_DATA) and fields.is_documented_as_required(name) and maker.can_make(name)
    ]


def _dummy_inputs(model: Any, batch: int) -> CallArguments | None:
    """Return zeros in the shapes of the model's ``dummy_inputs``."""
    try:
        dummies = model.dummy_inputs
    except Exception:  # noqa: BLE001 - without dummy inputs, the property may raise anything
        return None
    if not isinstance(dummies, dict) or getattr(model, "main_input_name", "") not in dummies:
        return None
    tensors = {name: value for name, value in dummies.items() if isinstance(value, torch.Tensor) and value.dim()}
    made = {name: torch.zeros(batch, *value.shape[1:], dtype=value.dtype) for name, value in tensors.items()}
    return CallArguments((), made, "the shapes of its dummy inputs")
