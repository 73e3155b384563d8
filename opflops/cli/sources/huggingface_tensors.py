"""Make one input of a transformers model by its name: rules for names that models share, and their documentation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.cli.sources.huggingface_fields import Fields

TOKENS = 128
_RATE = 16_000
_FRAMES = 8
_POSITIONS = ("max_position_embeddings", "n_positions", "max_target_positions", "n_ctx", "max_seq_len", "seq_length")
_IMAGE_SIZES = ("image_size", "img_size", "input_size", "pretrain_img_size", "force_image_size")
_CHANNELS = ("num_channels", "in_channels", "in_chans", "num_image_channels")
_BINS = (
    *("num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim", "input_feat_size", "mel_bins"),
    *("n_mels", "num_mel_channels", "feature_size", "input_dim"),
)
_CONTEXT = ("context_length", "sequence_length", "seq_length", "max_context_length", "input_length")
_GRIDS = ("image_grid_thw", "image_grid_hw", "spatial_shapes")
# Images that are given as rows of patches have a size of their own choice: this one divides by all usual patches.
_PATCHED_SIZE = 448


class InputMaker:
    """Make inputs by name.

    Attributes:
        fields: What the model says about its inputs.
        batch: The leading size.
        tokens: How many tokens a text has.
    """

    def __init__(self, fields: Fields, batch: int) -> None:
        self.fields = fields
        self.batch = batch
        positions = fields.get(*_POSITIONS, part="text")
        self.tokens = min(TOKENS, positions) if isinstance(positions, int) and positions > 0 else TOKENS
        self._rules: dict[str, Callable[[], Tensor]] = {
            "input_ids": self.ids,
            "decoder_input_ids": self._decoder_ids,
            "qformer_input_ids": self.ids,
            "pixel_values": self._pixels,
            "pixel_values_videos": self._pixels,
            "pixel_mask": lambda: self._ones(self.batch, *self.image_size),
            "pixel_attention_mask": self._pixel_attention_mask,
            "input_features": self._features,
            "input_values": self._audio,
            "image_grid_thw": lambda: self._rows([1, *self._grid]),
            "image_grid_hw": lambda: self._rows([*self._grid]),
            "spatial_shapes": lambda: self._rows([*self._grid]),
            "image_sizes": lambda: self._rows([*self._tiled_size]),
            "target_sizes": lambda: self._rows([*self._grid]),
            "aspect_ratio_ids": lambda: self._ones(self.batch, 1),
            "aspect_ratio_mask": lambda: self._ones(self.batch, 1, self._tiles),
            "cross_attention_mask": lambda: self._ones(self.batch, self.tokens, 1, self._tiles),
            "image_attention_mask": lambda: self._ones(self.batch, self.tokens, 1),
            "image_embeds_position_mask": self._position_mask,
            "image_position_ids": self._patch_positions,
            "feature_attention_mask": lambda: self._ones(self.batch, self._features().shape[-1]),
            "input_features_mask": lambda: self._ones(self.batch, self._features().shape[1]).bool(),
            "flattened_patches": self._flattened_patches,
            "inputs": self._inputs,
            "bbox": lambda: torch.zeros(self.batch, self.tokens, 4, dtype=torch.int64, device="cpu"),
            "past_values": self._series,
            "past_time_features": lambda: self._series_features("num_time_features"),
        }

    def can_make(self, name: str) -> bool:
        """Return whether there is a rule for an input, or its documentation says its shape."""
        return name in self._rules or self._documented(name) is not None

    def has_rule(self, name: str) -> bool:
        """Return whether there is a rule for an input, whatever its documentation says."""
        return name in self._rules

    def make(self, name: str) -> Tensor:
        """Make an input for which there is a rule or a documented shape."""
        if name in self._rules:
            return self._rules[name]()
        shape = self._documented(name)
        assert shape is not None  # noqa: S101 - can_make() said so
        if self.fields.is_integer(name):
            return torch.zeros(shape, dtype=torch.int64, device="cpu")
        return torch.zeros(shape)

    def ids(self, length: int | None = None) -> Tensor:
        """Make token ids without padding and other special tokens, with the end token last."""
        end = self.fields.get("eos_token_id", part="text")
        shape = self._ids_shape(self.tokens if length is None else length)
        ids = torch.full(shape, self._plain_token(), dtype=torch.int64, device="cpu")
        if isinstance(end, int) and 0 <= end < self.fields.integer("vocab_size", part="text", default=0):
            ids[:, -1] = end
        return ids

    def _ids_shape(self, length: int) -> tuple[int, ...]:
        """Return the shape of ids: with an axis for the text and the codebooks of sound, if they share embeddings."""
        codebooks = self.fields.get("num_codebooks")
        offsets = (each for name, each in self.fields.model.named_buffers() if name.endswith("audio_tokens_offsets"))
        if codebooks and any(each.numel() == codebooks + 1 for each in offsets):
            return (self.batch, length, codebooks + 1)
        return (self.batch, length)

    def _decoder_ids(self) -> Tensor:
        """Make a decoder's token ids, in all channels of sound if it has several."""
        channels = self.fields.get("num_channels", part="decoder")
        if channels and self.fields.get("delay_pattern"):
            return torch.zeros(self.batch, self.tokens, channels, dtype=torch.int64, device="cpu")
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

    def _ones(self, *shape: int) -> Tensor:
        return torch.ones(shape, dtype=torch.int64, device="cpu")

    def _rows(self, row: list[int]) -> Tensor:
        """Make one row of numbers for each image."""
        return torch.tensor([row] * self.batch, dtype=torch.int64, device="cpu")

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of an image."""
        if ratios := self.fields.get("scaled_images_ratios"):
            # The smallest copy of the image must be one patch.
            side = int(self._patch / min(ratios))
            return side, side
        size = self.fields.get(*_IMAGE_SIZES, part="vision")
        if isinstance(size, dict):
            if "longest_edge" in size:
                return size["longest_edge"], size["longest_edge"]
            return size.get("height", 224), size.get("width", 224)
        if isinstance(size, (list, tuple)):
            # A prompt of the same size is put on top of the image.
            parts = 2 if "prompt_pixel_values" in self.fields.parameters else 1
            return int(size[0]) // parts, int(size[-1])
        if size:
            return int(size), int(size)
        return (_PATCHED_SIZE, _PATCHED_SIZE) if self._takes_patches else (224, 224)

    @property
    def _takes_patches(self) -> bool:
        """Whether images are given as rows of patches: towers that take both forms get images."""
        fields = self.fields
        grids = [name for name in _GRIDS if name in fields.parameters]
        return any(fields.replaces_tokens or fields.requires(name) for name in grids)

    @property
    def _patch(self) -> int:
        size = self.fields.get("patch_size", part="vision")
        return int(size[0] if isinstance(size, (list, tuple)) else size or 14)

    @property
    def _grid(self) -> tuple[int, int]:
        """The rows and columns of patches; whole groups of them where neighbours are merged."""
        merge = self.fields.integer("spatial_merge_size", "merge_size", "downsample_factor", part="vision", default=1)
        height, width = self.image_size
        if self._takes_patches:
            height, width = min(height, _PATCHED_SIZE), min(width, _PATCHED_SIZE)
        step = self._patch * merge
        return max(1, height // step) * merge, max(1, width // step) * merge

    @property
    def _channels(self) -> int:
        return self.fields.integer(*_CHANNELS, part="vision", default=3)

    @property
    def _tiles(self) -> int:
        return self.fields.integer("max_num_tiles", part="vision", default=1)

    @property
    def _tiled_size(self) -> tuple[int, int]:
        """The size of the image before it is cut into tiles: the smallest that the configuration lists."""
        listed = self.fields.get("image_grid_pinpoints", "grid_pinpoints", "possible_resolutions")
        if not listed:
            return self.image_size
        height, width = min(listed, key=math.prod)
        return int(height), int(width)

    def _pixels(self) -> Tensor:
        """Make images: in patches, in tiles, several for a text, or as frames, if the model takes them so."""
        names = self.fields.parameters
        height, width = self.image_size
        channels = self._channels
        if self._takes_patches and "spatial_shapes" not in names:
            depth = self.fields.integer("temporal_patch_size", part="vision", default=1)
            rows, columns = self._grid
            return torch.zeros(self.batch * rows * columns, channels * depth * self._patch**2)
        if "image_position_ids" in names or self._takes_patches:
            rows, columns = self._grid
            return torch.zeros(self.batch, rows * columns, channels * self._patch**2)
        if "image_sizes" in names and self.fields.get("image_grid_pinpoints"):
            tall, wide = self._tiled_size
            tiles = math.ceil(tall / height) * math.ceil(wide / width) + 1
            return torch.zeros(self.batch, tiles, channels, height, width)
        axes = self.fields.axes("pixel_values") or []
        between = [self._axis(axis) for axis in axes[1:-3]]
        frames = self.fields.get("num_frames")
        if not between and isinstance(frames, int) and frames:
            between = [frames]
        if not between and self.fields.checks("pixel_values.flatten(0, 1)"):
            between = [1]
        shape = (self.batch, *between, channels, height, width)
        if self.fields.checks("pixel_values == 0"):
            # Images of zeros would be left out as padding, and a count knows the values of integers.
            return torch.ones(shape, dtype=torch.uint8, device="cpu")
        return torch.zeros(shape)

    def _flattened_patches(self) -> Tensor:
        """Make rows of patches behind their row and column."""
        values = self.fields.integer("patch_embed_hidden_size", default=self._channels * self._patch**2)
        return torch.zeros(
            self.batch, self.fields.integer("seq_len", "max_patches", part="vision", default=2048), values + 2
        )

    def _inputs(self) -> Tensor:
        """Make what a Perceiver reads: tokens or images if it prepares them, otherwise vectors."""
        preprocessor = type(getattr(self.fields.model, "input_preprocessor", None)).__name__
        if "Text" in preprocessor:
            return self.ids()
        if "Image" in preprocessor:
            return self._pixels()
        return torch.zeros(self.batch, self.tokens, self.fields.integer("d_model", "hidden_size", default=1))

    def _pixel_attention_mask(self) -> Tensor:
        images = self._pixels()
        shape = (*images.shape[:2], *images.shape[-2:]) if images.dim() == 5 else images.shape[:2]  # noqa: PLR2004
        return self._ones(*shape).bool()

    def _patch_positions(self) -> Tensor:
        rows, columns = self._grid
        grid = torch.cartesian_prod(torch.arange(rows, device="cpu"), torch.arange(columns, device="cpu"))
        return grid.expand(self.batch, -1, -1)

    def _axis(self, name: str) -> int:
        """Return the size of an axis by its name in code or documentation."""
        if name.isdecimal():
            return int(name)
        if name in ("num_frames", "frames", "time", "num_timesteps"):
            return self.fields.integer("num_frames", default=_FRAMES)
        if name.endswith("num_tiles"):
            return self._tiles
        return 1

    def _features(self) -> Tensor:
        """Make a spectrogram in the layout of the model, of its length if that is fixed."""
        fields = self.fields
        bins = fields.integer(*_BINS, part="audio", default=80)
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

    def _audio(self) -> Tensor:
        """Make one second of audio, or a spectrogram for models whose ``input_values`` are one."""
        fields = self.fields
        bins, length = fields.get("num_mel_bins"), fields.get("max_length")
        if bins and length and hasattr(fields.configuration, "patch_size"):
            return torch.zeros(self.batch, length, bins)
        axes = fields.axes("input_values") or []
        if len(axes) == 3:  # noqa: PLR2004 - the batch, the channels and the samples
            return torch.zeros(self.batch, fields.integer("audio_channels", default=1), self._samples())
        return torch.zeros(self.batch, self._samples())

    def _samples(self) -> int:
        return self.fields.integer("sampling_rate", "sample_rate", default=_RATE)

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

    def _series_features(self, field: str) -> Tensor:
        return torch.zeros(self.batch, self._series().shape[1], self.fields.integer(field, default=1))

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
        height, width = self.image_size
        known = {
            **dict.fromkeys(("sequence_length", "seq_length", "seq_len", "text_length"), self._length_for(name)),
            **dict.fromkeys(("target_sequence_length", "tgt_seq_len", "episode_length"), self.tokens),
            **dict.fromkeys(("num_channels", "channels"), self._channels),
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
