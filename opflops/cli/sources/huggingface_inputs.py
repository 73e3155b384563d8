"""Inputs for models of transformers, of sizes that their configurations tell."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from opflops.cli.arranged import Inputs, parameters_of

_TOKENS = 128
_RATE = 16_000
_WHENCE = "from its configuration"
_PARTS = ("text_config", "vision_config", "audio_config", "encoder", "decoder", "backbone_config", "text", "vision")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_target_positions", "n_ctx", "max_seq_len", "seq_length")


def proposed(model: Any, batch: int) -> Inputs | None:
    """Make what the model's main input names, and what else it cannot do without.

    Returns:
        The inputs by name, or None where nothing is known of such a model.
    """
    configuration = model.config
    names = [each.name for each in parameters_of(model)]
    main = getattr(model, "main_input_name", "input_ids")
    wanted = [main, *_companions(model, main)]
    makers = {
        "input_ids": lambda: _tokens(configuration, batch),
        "decoder_input_ids": lambda: _tokens(configuration, batch),
        "pixel_values": lambda: _pixels(configuration, batch),
        "pixel_values_videos": lambda: _pixels(configuration, batch),
        "input_features": lambda: _features(configuration, batch),
        "input_values": lambda: _sound(configuration, batch),
    }
    if all(name in makers and name in names for name in wanted):
        return Inputs((), {name: makers[name]() for name in wanted}, _WHENCE)
    return _dummies(model, batch)


def _companions(model: Any, main: str) -> list[str]:
    """List the inputs without which the main one is not enough: of a decoder, or of the other half of a pair."""
    parameters = {each.name: each for each in parameters_of(model)}
    found = []
    if getattr(model.config, "is_encoder_decoder", False) and "decoder_input_ids" in parameters:
        found.append("decoder_input_ids")
    # Models that compare a text with an image or a sound scale the products of the two.
    pair = any(name.startswith("logit_scale") for name, _ in model.named_parameters(recurse=False))
    for name in ("input_ids", "pixel_values", "input_features"):
        needed = name in parameters and (pair or parameters[name].default is inspect.Parameter.empty)
        if needed and name != main:
            found.append(name)
    return found


def _dummies(model: Any, batch: int) -> Inputs | None:
    """Take the inputs that the model's own class has for trying it out."""
    try:
        dummies = model.dummy_inputs
    except Exception:  # noqa: BLE001 - a class that has none may fail in any way
        return None
    if not isinstance(dummies, dict) or getattr(model, "main_input_name", "") not in dummies:
        return None
    tensors = {name: value for name, value in dummies.items() if isinstance(value, torch.Tensor) and value.dim()}
    made = {name: torch.zeros(batch, *value.shape[1:], dtype=value.dtype) for name, value in tensors.items()}
    return Inputs((), made, "the shapes of its dummy inputs")


def _said(configuration: Any, *names: str) -> Any:
    """Find the first of some fields that the configuration, or one of its parts, has."""
    parts = [configuration, *(getattr(configuration, part, None) for part in _PARTS)]
    for part in parts:
        for name in names:
            value = part.get(name) if isinstance(part, dict) else getattr(part, name, None)
            if value is not None:
                return value
    return None


def _tokens(configuration: Any, batch: int) -> torch.Tensor:
    """Make a text that no token of padding shortens, and that ends as texts do."""
    positions = _said(configuration, *_POSITIONS)
    length = min(_TOKENS, positions) if isinstance(positions, int) and positions > 0 else _TOKENS
    padding, end = _said(configuration, "pad_token_id"), _said(configuration, "eos_token_id")
    ids = torch.full((batch, length), 1 if padding == 0 else 0, dtype=torch.int64)
    if isinstance(end, int) and 0 <= end < (_said(configuration, "vocab_size") or 0):
        ids[:, -1] = end
    return ids


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, dict):
        return size.get("height", 224), size.get("width", 224)
    if isinstance(size, (list, tuple)):
        return int(size[0]), int(size[-1])
    return (int(size), int(size)) if size else (224, 224)


def _pixels(configuration: Any, batch: int) -> torch.Tensor:
    sizes = _pair(_said(configuration, "image_size", "img_size", "input_size"))
    channels = _said(configuration, "num_channels", "in_channels", "in_chans") or 3
    frames = _said(configuration, "num_frames")
    return torch.zeros(batch, *([frames] if frames else []), channels, *sizes)


def _features(configuration: Any, batch: int) -> torch.Tensor:
    """Make a spectrogram: as long as the model takes where that is fixed, channels first or last as it takes them."""
    bins = _said(configuration, "num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim") or 80
    positions = _said(configuration, "max_source_positions")
    if _said(configuration, "input_feat_per_channel", "feature_projection_input_dim") is not None:
        return torch.zeros(batch, 1000, bins)
    # Whisper halves the frames before it adds positions.
    return torch.zeros(batch, bins, 2 * positions if positions else 3000)


def _sound(configuration: Any, batch: int) -> torch.Tensor:
    """Make a second of sound, or a spectrogram for those that call that their values."""
    bins, length = _said(configuration, "num_mel_bins"), _said(configuration, "max_length")
    if bins and length and hasattr(configuration, "patch_size"):
        return torch.zeros(batch, length, bins)
    return torch.zeros(batch, _RATE)
