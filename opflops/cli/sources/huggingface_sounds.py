"""Make sounds for a transformers model: samples, or spectrograms in the layout that its code takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from opflops.cli.sources.huggingface_fields import Fields

_RATE = 16_000
_FRAMES = 1000
BINS = (
    *("num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim", "input_feat_size", "mel_bins"),
    *("n_mels", "num_mel_channels", "feature_size", "input_dim"),
)
"""The fields that may say how many values each frame of a spectrogram has, the preferred ones first."""


class SoundMaker:
    """Make sounds and what comes with them.

    Attributes:
        fields: What the model says about its inputs.
        batch: The leading size.
        tokens: How many tokens a text has, and how many vectors the input of an encoder.
    """

    def __init__(self, fields: Fields, batch: int, tokens: int) -> None:
        self.fields = fields
        self.batch = batch
        self.tokens = tokens

    def features(self) -> Tensor:
        """Make a spectrogram in the layout of the model, of its length if that is fixed."""
        fields = self.fields
        bins = fields.integer(*BINS, part="audio", default=80)
        if fields.checks("inputs_embeds = input_features"):
            # They are vectors already.
            return torch.zeros(self.batch, _FRAMES, fields.integer("d_model", "hidden_size", default=bins))
        if chroma := fields.get("num_chroma"):
            return torch.zeros(self.batch, fields.integer("chroma_length", default=_FRAMES), chroma)
        first = next((each for path, each in fields.linear_layers.items() if path.endswith("input_linear")), None)
        return self._spectrogram(bins) if first is None else torch.zeros(self.batch, _FRAMES, first.in_features)

    def _spectrogram(self, bins: int) -> Tensor:
        fields = self.fields
        if side := fields.get("spec_size"):
            # The spectrogram is folded into a square image.
            return torch.zeros(self.batch, 1, side * (side // bins), bins)
        positions = fields.get("max_source_positions", part="audio")
        if positions and fields.get("input_feat_per_channel", "feature_projection_input_dim") is None:
            # Whisper halves the frames before it adds positions.
            return torch.zeros(self.batch, bins, 2 * positions)
        convolutions = (each for each in fields.model.modules() if isinstance(each, nn.Conv1d))
        is_channels_first = any(each.in_channels == bins for each in convolutions)
        if (
            is_channels_first
            and not fields.checks("input_features.transpose(2, 1)")
            and not fields.get("input_feat_per_channel")
        ):
            return torch.zeros(self.batch, bins, 3000)
        return torch.zeros(self.batch, 1000, bins)

    def features_mask(self) -> Tensor:
        """Mark all frames of a spectrogram as sound."""
        features = self.features()
        frames = features.shape[-1] if self._is_channels_first(features) else features.shape[1]
        return torch.ones(self.batch, frames, dtype=torch.bool, device="cpu")

    def _is_channels_first(self, features: Tensor) -> bool:
        return features.shape[1] == self.fields.integer(*BINS, part="audio", default=80)

    def spectrogram(self) -> Tensor:
        """Make what a vocoder turns into sound, frame by frame."""
        return torch.zeros(self.batch, 1000, self.fields.integer("model_in_dim", *BINS, default=80))

    def decoder_values(self) -> Tensor:
        """Make a spectrogram for a decoder; vectors if its layers before the first block are left out."""
        if not _has_convolutions(self.fields.model):
            return torch.zeros(self.batch, self.tokens, self.fields.integer("hidden_size", default=1))
        return torch.zeros(self.batch, self.tokens, self.fields.integer(*BINS, default=80))

    def audio(self) -> Tensor:
        """Make one second of audio, or a spectrogram for models whose ``input_values`` are one."""
        fields = self.fields
        bins, length = fields.get("num_mel_bins"), fields.get("max_length")
        if bins and length and hasattr(fields.configuration, "patch_size"):
            return torch.zeros(self.batch, length, bins)
        axes = fields.axes("input_values") or []
        if not _has_convolutions(fields.model):
            # An encoder without layers before its first block.
            return torch.zeros(self.batch, self.tokens, fields.integer("hidden_size", default=1))
        if len(axes) == 3:  # noqa: PLR2004 - the batch, the channels and the samples
            return torch.zeros(self.batch, fields.integer("audio_channels", default=1), self._samples())
        return torch.zeros(self.batch, self._samples())

    def _samples(self) -> int:
        return self.fields.integer("sampling_rate", "sample_rate", default=_RATE)


def _has_convolutions(model: nn.Module) -> bool:
    return any(isinstance(each, nn.Conv1d) for each in model.modules())
