"""Example inputs for transformers models, with sizes from their configurations."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from opflops.cli.call_arguments import CallArguments, parameters_of

_TOKENS = 128
_RATE = 16_000
_ORIGIN = "from its configuration"
_PARTS = ("text_config", "vision_config", "audio_config", "encoder", "decoder", "backbone_config", "text", "vision")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_target_positions", "n_ctx", "max_seq_len", "seq_length")


def propose_inputs(model: Any, batch: int) -> CallArguments | None:
    """Make the model's main input, and the other inputs that it requires.

    Returns:
        The inputs by name; None if it is not known how to make them.
    """
    configuration = model.config
    names = [each.name for each in parameters_of(model)]
    main = getattr(model, "main_input_name", "input_ids")
    required = [main, *_further_inputs(model, main)]
    makers = {
        "input_ids": lambda: _tokens(configuration, batch),
        "decoder_input_ids": lambda: _tokens(configuration, batch),
        "pixel_values": lambda: _pixels(configuration, batch),
        "pixel_values_videos": lambda: _pixels(configuration, batch),
        "input_features": lambda: _features(configuration, batch),
        "input_values": lambda: _audio(configuration, batch),
    }
    if all(name in makers and name in names for name in required):
        return CallArguments((), {name: makers[name]() for name in required}, _ORIGIN)
    return _dummy_inputs(model, batch)


def _further_inputs(model: Any, main: str) -> list[str]:
    """List the required inputs besides the main one: of a decoder, or of the second modality."""
    parameters = {each.name: each for each in parameters_of(model)}
    further = []
    if getattr(model.config, "is_encoder_decoder", False) and "decoder_input_ids" in parameters:
        further.append("decoder_input_ids")
    # Models that compare a text with an image or a sound have a scale for the logits.
    has_two_modalities = any(name.startswith("logit_scale") for name, _ in model.named_parameters(recurse=False))
    for name in ("input_ids", "pixel_values", "input_features"):
        is_required = name in parameters and (has_two_modalities or parameters[name].default is inspect.Parameter.empty)
        if is_required and name != main:
            further.append(name)
    return further


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


def _get_field(configuration: Any, *names: str) -> Any:
    """Return the value of the first of these fields that the configuration, or a part of it, has; None without any."""
    parts = [configuration, *(getattr(configuration, part, None) for part in _PARTS)]
    for part in parts:
        for name in names:
            value = part.get(name) if isinstance(part, dict) else getattr(part, name, None)
            if value is not None:
                return value
    return None


def _tokens(configuration: Any, batch: int) -> torch.Tensor:
    """Make token ids without padding tokens, with the end token last."""
    positions = _get_field(configuration, *_POSITIONS)
    length = min(_TOKENS, positions) if isinstance(positions, int) and positions > 0 else _TOKENS
    padding, end = _get_field(configuration, "pad_token_id"), _get_field(configuration, "eos_token_id")
    ids = torch.full((batch, length), 1 if padding == 0 else 0, dtype=torch.int64)
    if isinstance(end, int) and 0 <= end < (_get_field(configuration, "vocab_size") or 0):
        ids[:, -1] = end
    return ids


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, dict):
        return size.get("height", 224), size.get("width", 224)
    if isinstance(size, (list, tuple)):
        return int(size[0]), int(size[-1])
    return (int(size), int(size)) if size else (224, 224)


def _pixels(configuration: Any, batch: int) -> torch.Tensor:
    sizes = _pair(_get_field(configuration, "image_size", "img_size", "input_size"))
    channels = _get_field(configuration, "num_channels", "in_channels", "in_chans") or 3
    frames = _get_field(configuration, "num_frames")
    return torch.zeros(batch, *([frames] if frames else []), channels, *sizes)


def _features(configuration: Any, batch: int) -> torch.Tensor:
    """Make a spectrogram in the layout of the model, of its length if that is fixed."""
    bins = _get_field(configuration, "num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim") or 80
    positions = _get_field(configuration, "max_source_positions")
    if _get_field(configuration, "input_feat_per_channel", "feature_projection_input_dim") is not None:
        return torch.zeros(batch, 1000, bins)
    # Whisper halves the frames before it adds positions.
    return torch.zeros(batch, bins, 2 * positions if positions else 3000)


def _audio(configuration: Any, batch: int) -> torch.Tensor:
    """Make one second of audio, or a spectrogram for models whose ``input_values`` are one."""
    bins, length = _get_field(configuration, "num_mel_bins"), _get_field(configuration, "max_length")
    if bins and length and hasattr(configuration, "patch_size"):
        return torch.zeros(batch, length, bins)
    return torch.zeros(batch, _RATE)
