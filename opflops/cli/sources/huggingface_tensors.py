"""Make one input of a transformers model by its name: rules for names that models share, and their documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from opflops.cli.sources.huggingface_images import ImageMaker
from opflops.cli.sources.huggingface_sounds import SoundMaker
from opflops.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.cli.sources.huggingface_fields import Fields

TOKENS = 128
# What replaces the embeddings of tokens, or comes from another model; its documentation need not say its shape.
_FIRST_LAYER = ("inputs_embeds", "query_embeds", "patch_embeds", "latents", "mel_spectrogram", "context")
_FRAMES = 8
_CONTEXT = ("context_length", "sequence_length", "seq_length", "max_context_length", "input_length")


class InputMaker:
    """Make inputs by name.

    Attributes:
        fields: What the model says about its inputs.
        batch: The leading size.
        images: Makes the images.
        sounds: Makes the sounds.
        tokens: How many tokens a text has.
        length: How many it has with placeholder tokens, if that is given.
    """

    def __init__(self, fields: Fields, batch: int, length: int | None = None, generate: int = 0) -> None:
        self.fields = fields
        self.batch = batch
        self.length = length
        self._room = None if fields.positions is None else max(fields.positions - generate, 1)
        self.images = ImageMaker(fields, batch)
        self.tokens = TOKENS if self._room is None else min(TOKENS, self._room)
        self.sounds = SoundMaker(fields, batch, self.tokens)
        self._rules: dict[str, Callable[[], Tensor]] = {
            "input_ids": self.ids,
            "decoder_input_ids": self._decoder_ids,
            **dict.fromkeys(("qformer_input_ids", "classes_input_ids", "tasks_input_ids"), self.ids),
            **dict.fromkeys(("attention_mask", "classes_attention_mask", "tasks_attention_mask"), self._tokens_mask),
            "classes_structure": lambda: self._ones(self.batch),
            "pixel_values": self.images.pixels,
            "pixel_values_videos": self.images.videos,
            "visual_embeds": lambda: torch.zeros(batch, 36, fields.integer("visual_embedding_dim", default=2048)),
            "high_res_pixel_values": self.images.high_resolution,
            "image": self.images.pixels,
            "hidden_states": self._hidden_states,
            "pixel_mask": lambda: self._ones(self.batch, *self.images.image_size),
            "pixel_attention_mask": self.images.pixel_attention_mask,
            "input_features": self.sounds.features,
            "input_values": self.sounds.audio,
            "image_grid_thw": lambda: self._rows([1, *self.images.grid]),
            "grid_thw": lambda: self._rows([1, *self.images.grid]),
            "image_grid_hw": lambda: self._rows([*self.images.grid]),
            "spatial_shapes": lambda: self._rows([*self.images.grid]),
            "image_sizes": lambda: self._rows([*self.images.tiled_size]),
            "target_sizes": lambda: self._rows([*self.images.grid]),
            "aspect_ratio_ids": lambda: self._ones(self.batch, 1),
            "aspect_ratio_mask": lambda: self._ones(self.batch, 1, self.images.tiles),
            "cross_attention_mask": lambda: self._ones(self.batch, self.tokens, 1, self.images.tiles),
            "image_attention_mask": lambda: self._ones(self.batch, self.tokens, 1),
            "image_embeds_position_mask": self._position_mask,
            "image_position_ids": self.images.patch_positions,
            "pixel_position_ids": self.images.patch_positions,
            "audio_mel": self.sounds.features,
            "audio_mel_mask": lambda: self._ones(self.batch, self.sounds.features().shape[1]).bool(),
            "encoder_hidden_states": self._encoder_states,
            "task_inputs": lambda: torch.zeros(self.batch, self.fields.integer("task_seq_len", default=self.tokens)),
            "spectrogram": self.sounds.spectrogram,
            "decoder_input_values": self.sounds.decoder_values,
            "feature_attention_mask": lambda: self._ones(self.batch, self.sounds.features().shape[-1]),
            "input_features_mask": self.sounds.features_mask,
            "padding_mask": lambda: self._ones(*self.sounds.audio().shape),
            "flattened_patches": self.images.flattened_patches,
            "inputs": self._inputs,
            "bbox": lambda: torch.zeros(self.batch, self.tokens, 4, dtype=torch.int64, device="cpu"),
            "past_values": self._series,
            "past_time_features": lambda: self._time_features(self._series().shape[1]),
            "future_time_features": lambda: self._time_features(self.fields.integer("prediction_length", default=1)),
        }

    def can_make(self, name: str) -> bool:
        """Return whether there is a rule for an input, or its documentation says its shape."""
        return name in self._rules or self._documented(name) is not None or name in _FIRST_LAYER

    def has_rule(self, name: str) -> bool:
        """Return whether there is a rule for an input, whatever its documentation says."""
        return name in self._rules

    def make(self, name: str) -> Tensor:
        """Make an input for which there is a rule or a documented shape."""
        if name in self._rules:
            return self._rules[name]()
        shape = self._documented(name)
        if shape is None:
            return self.first_layer()
        if self.fields.is_integer(name):
            return torch.zeros(shape, dtype=torch.int64, device="cpu")
        return torch.zeros(shape)

    def text_beside(self, placeholders: int) -> Tensor:
        """Make the token ids of a text that has placeholder tokens too, within its length and its positions.

        Raises:
            TargetError: The given length has no room for the placeholder tokens.
        """
        if self.length is not None:
            if self.length < placeholders:
                raise TargetError(
                    f"input_ids has {self.length} tokens, fewer than the {placeholders} placeholder tokens of the "
                    f"images or sounds beside it: give {placeholders} or more, as in --input "
                    f"input_ids={self.batch},{placeholders + self.tokens}:int64."
                )
            return self.ids(self.length - placeholders)
        room = self.tokens if self._room is None else self._room - placeholders
        return self.ids(min(self.tokens, room) if room > 0 else self.tokens)

    def ids(self, length: int | None = None) -> Tensor:
        """Make token ids without padding and other special tokens, with the end token last."""
        end = self.fields.get("eos_token_id", part="text")
        shape = self._ids_shape(self.tokens if length is None else length)
        ids = torch.full(shape, self._plain_token(), dtype=torch.int64, device="cpu")
        if isinstance(end, int) and 0 <= end < self.fields.integer("vocab_size", part="text", default=0):
            ids[:, -1:] = end
        return ids

    def _ids_shape(self, length: int) -> tuple[int, ...]:
        """Return the shape of ids: with an axis for the text and the codebooks of sound, if they share embeddings."""
        codebooks = self.fields.get("num_codebooks")
        offsets = (each for name, each in self.fields.model.named_buffers() if name.endswith("audio_tokens_offsets"))
        if codebooks and any(each.numel() == codebooks + 1 for each in offsets):
            return (self.batch, length, codebooks + 1)
        is_decoder = "decoder_input_ids" not in self.fields.parameters
        if is_decoder and self._has_rows_of_codebooks:
            return (self.batch * codebooks, length)
        channels = self.fields.get("num_channels")
        if is_decoder and channels and self.fields.checks("batch_size, seq_length = input_ids.size()[:-1]"):
            return (self.batch, length, channels)
        return (self.batch, length)

    @property
    def _has_rows_of_codebooks(self) -> bool:
        """Whether a decoder takes a row of ids for each codebook of a sound."""
        return self.fields.checks("input_ids.reshape(-1, self.num_codebooks")

    def _decoder_ids(self) -> Tensor:
        """Make a decoder's token ids, in all channels of sound if it has several."""
        channels = self.fields.get("num_channels", part="decoder")
        if channels and self.fields.get("delay_pattern"):
            return torch.zeros(self.batch, self.tokens, channels, dtype=torch.int64, device="cpu")
        if self._has_rows_of_codebooks:
            rows = self.batch * self.fields.integer("num_codebooks", part="decoder", default=1)
            return torch.zeros(rows, self.tokens, dtype=torch.int64, device="cpu")
        return self.ids()

    def _position_mask(self) -> Tensor:
        """Mark the tokens that images replace: as many as the model has queries."""
        mask = torch.zeros(self.batch, self.tokens, dtype=torch.int64, device="cpu")
        mask[:, : self.fields.integer("latent_query_num", default=1)] = 1
        return mask

    def _plain_token(self) -> int:
        names = ("pad_token_id", "image_token_id", "image_token_index", "audio_token_id", "audio_token_index")
        special = {token for name in names if isinstance(token := self.fields.get(name, part="text"), int)}
        return next(token for token in range(len(special) + 1) if token not in special)

    def _tokens_mask(self) -> Tensor:
        return self._ones(self.batch, self.tokens)

    def _ones(self, *shape: int) -> Tensor:
        return torch.ones(shape, dtype=torch.int64, device="cpu")

    def _rows(self, row: list[int]) -> Tensor:
        """Make one row of numbers for each image."""
        return torch.tensor([row] * self.batch, dtype=torch.int64, device="cpu")

    def _encoder_states(self) -> Tensor:
        """Make the vectors that cross attention reads."""
        width = self.fields.cross_attention_width or self.fields.integer(
            "encoder_hidden_size", "hidden_size", default=1
        )
        return torch.zeros(self.batch, self.tokens, width)

    def _hidden_states(self) -> Tensor:
        """Make the input of an encoder without layers before its first block; rows of patches if they have a grid."""
        return self.images.pixels() if self.images.takes_patches else self.first_layer()

    def first_layer(self) -> Tensor:
        """Make the input that the first layer with a weight takes."""
        for layer in self.fields.model.modules():
            if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)):
                return torch.zeros(self.batch, layer.in_channels, self.tokens)
            if isinstance(layer, nn.Conv2d):
                return torch.zeros(self.batch, layer.in_channels, *self.images.image_size)
            if isinstance(layer, nn.Linear):
                return torch.zeros(self.batch, self.tokens, layer.in_features)
            weight = layer._parameters.get("weight")  # noqa: SLF001 - not that of a module inside
            if weight is not None and weight.dim() == 1:
                return torch.zeros(self.batch, self.tokens, weight.numel())
        return torch.zeros(self.batch, self.tokens, self.fields.integer("hidden_size", default=1))

    def _inputs(self) -> Tensor:
        """Make what a Perceiver reads: tokens or images if it prepares them, otherwise vectors."""
        preprocessor = type(getattr(self.fields.model, "input_preprocessor", None)).__name__
        if "Text" in preprocessor:
            return self.ids()
        if "Image" in preprocessor:
            return self.images.pixels()
        return torch.zeros(self.batch, self.tokens, self.fields.integer("d_model", "hidden_size", default=1))

    def _series(self) -> Tensor:
        """Make a series of the length that the model looks back, with its lags."""
        fields = self.fields
        length = fields.integer(*_CONTEXT, default=512)
        lags = fields.get("lags_sequence")
        length += max(lags) if isinstance(lags, (list, tuple)) and lags else 0
        axes = fields.documented_axes("past_values") or []
        inputs = fields.integer("num_input_channels", "input_size", default=1)
        has_channels = len(axes) == 3 or (len(axes) != 2 and inputs > 1)  # noqa: PLR2004 - the batch, time and channels
        return torch.zeros(self.batch, length, *([inputs] if has_channels else []))

    def _time_features(self, length: int) -> Tensor:
        return torch.zeros(self.batch, length, self.fields.get("num_time_features") or 0)

    def _documented(self, name: str) -> tuple[int, ...] | None:
        """Return the shape that the documentation of an input says, with sizes from the configuration."""
        axes = self.fields.documented_axes(name)
        if not axes:
            return None
        sizes = [self._documented_size(axis, name) for axis in axes]
        return None if None in sizes else tuple(size for size in sizes if size is not None)

    def _documented_size(self, axis: str, name: str) -> int | None:
        if axis.isdecimal():
            return int(axis)
        axis = axis.removeprefix("self.").removeprefix("config.").removeprefix("model.")
        if axis in ("batch_size", "batch", "bs", "bsz"):
            return self.batch
        value = self.fields.get(axis)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        height, width = self.images.image_size
        known = {
            **dict.fromkeys(("sequence_length", "seq_length", "seq_len", "text_length"), self._length_for(name)),
            **dict.fromkeys(("target_sequence_length", "tgt_seq_len", "episode_length"), self.tokens),
            **dict.fromkeys(("num_channels", "channels"), self.images.channels),
            "height": height,
            "width": width,
            "image_size": height,
            **dict.fromkeys(("num_visual_features", "visual_seq_length", "num_boxes"), 36),
            **dict.fromkeys(("num_frames", "frames"), _FRAMES),
            **dict.fromkeys(("num_images", "max_num_images", "point_batch_size", "num_points"), 1),
        }
        return known.get(axis)

    def _length_for(self, name: str) -> int:
        return self._series().shape[1] if "past" in name else self.tokens
