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
_DATA = (
    *("input_ids", "bbox", "pixel_values", "flattened_patches", "visual_embeds", "input_features", "input_values"),
    "past_values",
)
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
    "hidden_states",
    "position_ids",
    "token_type_ids",
    "encoder_outputs",
    "head_mask",
    "cache",
)
# Where the code says this, ids are an alternative to a spectrogram.
_ALTERNATIVE = "inputs_embeds = input_features"


def propose_inputs(
    model: Any, batch: int, ids_shape: tuple[int, int] | None = None, generate: int = 0
) -> CallArguments | None:
    """Make the model's main input, the inputs of its other modalities, and what else it requires.

    Args:
        model: The model.
        batch: The leading size.
        ids_shape: The shape of token ids that are given, into which placeholder tokens must fit.
        generate: How many tokens are generated after the text.

    Returns:
        The inputs by name; None if it is not known how to make them.
    """
    fields = Fields(model)
    if ids_shape is None or not fields.replaces_tokens:
        maker = InputMaker(fields, batch, generate=generate)
    else:
        maker = InputMaker(fields, *ids_shape)
    multimodal = multimodal_inputs(maker)
    made, sentence = multimodal or ({}, "")
    main = "input_ids" if multimodal and not made and "input_ids" in fields.parameters else _main_input(fields)
    names = [main, *([] if multimodal else _data(fields, main)), *_needed(fields, maker)]
    if main == "input_features" and fields.checks(_ALTERNATIVE):
        names = [name for name in names if name != "input_ids"]
    if "future_values" in names:
        names.append("future_time_features")
    wanted = [name for name in dict.fromkeys(names) if name in fields.parameters]
    if wanted and all(name in made or maker.can_make(name) for name in wanted):
        # In this order: what is made for placeholder tokens, then what stands beside it.
        made |= {name: maker.make(name) for name in wanted if name not in made}
        return CallArguments((), made, f"{_ORIGIN}; {sentence}" if sentence else _ORIGIN)
    return _dummy_inputs(fields, batch)


def find_keywords(model: Any) -> set[str]:
    """List the inputs that a model takes through ``**kwargs``: others would be without effect."""
    return Fields(model).keywords


def explain_missing_inputs(model: Any) -> str:
    """Write which inputs a model needs that :func:`propose_inputs` cannot make, in a sentence; "" if there are none."""
    fields = Fields(model)
    maker = InputMaker(fields, 1)
    unknown = [name for name in fields.parameters if fields.requires(name) and not maker.can_make(name)]
    if not unknown:
        return ""
    tensors = [name for name in unknown if "Tensor" in str(fields.parameters[name].annotation)]
    call = f"{type(model).__name__}.forward"
    if tensors == unknown:
        known = [name for name in fields.parameters if fields.requires(name) and name not in unknown]
        beside = f" {' and '.join(known)} may be left out." if known else ""
        options = " ".join(f"--input {name}=SIZES" for name in unknown)
        return (
            f"{call} needs {' and '.join(unknown)}, whose sizes its documentation does not say: give {options}.{beside}"
        )
    others = [name for name in unknown if name not in tensors]
    return (
        f"{call} needs {' and '.join(others)}, which --input cannot give: it gives tensors alone. Write a function "
        "that calls the model, and count it as file.py:function."
    )


def _data(fields: Fields, main: str) -> list[str]:
    """List the inputs of all modalities of a model that replaces no tokens, and what stands beside them."""
    data = [name for name in _DATA if name in fields.parameters]
    if getattr(fields.configuration, "is_encoder_decoder", False) and main != "input_ids":
        # Ids would be an alternative to what the encoder reads.
        data = [name for name in data if name != "input_ids"]
    if main == "input_values" and "inputs" in fields.parameters:
        # Others are alternatives, for encoders of spectrograms.
        data = [name for name in data if name != "input_features"]
    if "input_values_cutoffs" in fields.parameters:
        # Such sounds are cut into pieces at values, and stand for placeholder tokens that the text has not.
        data = [name for name in data if name != "input_values"]
    beside = [name for name in _BESIDE if name in fields.parameters and "pixel_values" in data]
    if "pixel_values" in data and fields.checks("pixel_values.flatten(0, 1)"):
        # Only models of several images for a text mask them by token; for others, this mask is one of patches.
        beside += [name for name in ("image_attention_mask",) if name in fields.parameters]
    return [*data, *beside]


def _main_input(fields: Fields) -> str:
    """Return the parameter that the model is about: the one that it names, if its forward has it, or else its first."""
    main = getattr(fields.model, "main_input_name", "input_ids")
    if not isinstance(main, str):
        main = main[0]
    if main == "inputs" and "input_values" in fields.parameters:
        # Only the name by which an encoder of any kind is called.
        main = "input_values"
    if fields.checks(_ALTERNATIVE):
        # Ids would be an alternative, which training uses.
        main = "input_features"
    return main if main in fields.parameters else next(filter(fields.requires, fields.parameters), "")


def _needed(fields: Fields, maker: InputMaker) -> list[str]:
    """List the parameters without a default, a decoder's input, and what code or documentation require."""
    needed = [name for name in fields.parameters if fields.requires(name)]
    if getattr(fields.configuration, "is_encoder_decoder", False):
        needed += [name for name in ("decoder_input_ids", "decoder_input_values") if name in fields.parameters]
    if fields.cross_attention_width is not None:
        needed += [name for name in ("encoder_hidden_states",) if name in fields.parameters]
    needed += [name for name in (*fields.dereferenced, *fields.demanded) if maker.can_make(name)]
    for name in fields.parameters:
        is_data = not name.endswith(_NOT_DATA)
        if is_data and fields.is_documented_as_required(name) and maker.can_make(name):
            needed.append(name)
    return needed


def _dummy_inputs(fields: Fields, batch: int) -> CallArguments | None:
    """Return zeros in the shapes of the model's ``dummy_inputs``, if all that its forward requires is in them."""
    try:
        dummies = fields.model.dummy_inputs
    except Exception:  # noqa: BLE001 - without dummy inputs, the property may raise anything
        return None
    needed = {_main_input(fields), *filter(fields.requires, fields.parameters)}
    if not isinstance(dummies, dict) or not needed <= dummies.keys():
        return None
    tensors = {name: value for name, value in dummies.items() if isinstance(value, torch.Tensor) and value.dim()}
    made = {name: torch.zeros(batch, *value.shape[1:], dtype=value.dtype) for name, value in tensors.items()}
    return CallArguments((), made, "the shapes of its dummy inputs")
