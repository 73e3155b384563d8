"""Make images for a transformers model: whole, in rows of patches, in tiles, or as frames, as its code takes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from opflops.cli.sources.huggingface_fields import Fields

_FRAMES = 8
_IMAGE_SIZES = ("image_size", "img_size", "input_size", "pretrain_img_size", "force_image_size", "max_img_size")
_CHANNELS = ("num_channels", "in_channels", "in_chans", "num_image_channels")
_GRIDS = ("image_grid_thw", "image_grid_hw", "grid_thw", "spatial_shapes")
_MERGES = ("spatial_merge_size", "merge_size", "downsample_factor", "pooling_kernel_size")
# Images that are given as rows of patches have a size of their own choice: this one divides by all usual patches.
_PATCHED_SIZE = 448


class ImageMaker:
    """Make images and what comes with them.

    Attributes:
        fields: What the model says about its inputs.
        batch: The leading size.
    """

    def __init__(self, fields: Fields, batch: int) -> None:
        self.fields = fields
        self.batch = batch

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of an image."""
        if ratios := self.fields.get("scaled_images_ratios"):
            # The smallest copy of the image must be one patch.
            side = int(self._patch / min(ratios))
            return side, side
        if grids := self.fields.get("projector_patch_to_query_dict"):
            # The projector knows these numbers of patches only.
            side = math.isqrt(min(map(int, grids))) * self._patch
            return side, side
        if self.fields.get("keypoint_detector_config") is not None:
            # In an image of zeros each pixel is a keypoint, apart from a border: these are 1,024.
            return 40, 40
        size = self.fields.get(*_IMAGE_SIZES, part="vision")
        if isinstance(size, dict):
            edges = (size["longest_edge"],) * 2 if "longest_edge" in size else (size.get("height"), size.get("width"))
            return edges[0] or 224, edges[1] or 224
        if isinstance(size, (list, tuple)):
            # A prompt of the same size is put on top of the image.
            parts = 2 if "prompt_pixel_values" in self.fields.parameters else 1
            return int(size[0]) // parts, int(size[-1])
        side = int(size or (_PATCHED_SIZE if self.takes_patches else 224))
        groups = self.fields.get("scale_factor", "pixel_shuffle_factor")
        if self.fields.replaces_tokens and isinstance(groups, int):
            # Whole groups of patches are one token.
            step = self._patch * groups
            side = max(1, side // step) * step
        return side, side

    @property
    def takes_patches(self) -> bool:
        """Whether images are given as rows of patches: towers that take both forms get images."""
        fields = self.fields
        grids = [name for name in _GRIDS if name in fields.parameters]
        if grids and any(path.endswith("patch_embedding") for path in fields.linear_layers):
            return True
        return any(fields.replaces_tokens or fields.requires(name) for name in grids)

    @property
    def _patch(self) -> int:
        size = self.fields.get("patch_size", part="vision")
        return int(size[0] if isinstance(size, (list, tuple)) else size or 14)

    @property
    def grid(self) -> tuple[int, int]:
        """The rows and columns of patches; whole groups of them where neighbours are merged."""
        merge = self.fields.integer(*_MERGES, part="vision", default=1)
        height, width = self.image_size
        if self.takes_patches:
            height, width = min(height, _PATCHED_SIZE), min(width, _PATCHED_SIZE)
        step = self._patch * merge
        return max(1, height // step) * merge, max(1, width // step) * merge

    @property
    def channels(self) -> int:
        """The channels of an image."""
        return self.fields.integer(*_CHANNELS, part="vision", default=3)

    @property
    def tiles(self) -> int:
        """How many tiles an image is cut into at most."""
        return self.fields.integer("max_num_tiles", part="vision", default=1)

    @property
    def tiled_size(self) -> tuple[int, int]:
        """The size of the image before it is cut into tiles: the smallest that the configuration lists."""
        listed = self.fields.get("image_grid_pinpoints", "grid_pinpoints", "possible_resolutions")
        if not listed:
            return self.image_size
        height, width = min(listed, key=math.prod)
        return int(height), int(width)

    def pixels(self) -> Tensor:
        """Make images: in patches, in tiles, several for a text, or as frames, if the model takes them so."""
        names = self.fields.parameters
        height, width = self.image_size
        channels = self.channels
        if self.takes_patches and "spatial_shapes" not in names:
            depth = self.fields.integer("temporal_patch_size", part="vision", default=1)
            rows, columns = self.grid
            return torch.zeros(self.batch * rows * columns, channels * depth * self._patch**2)
        takes_rows = self.takes_patches or self.fields.checks("self.vision_embed_tokens(pixel_values)")
        if {"image_position_ids", "pixel_position_ids"} & {*names} or takes_rows:
            rows, columns = self.grid
            return torch.zeros(self.batch, rows * columns, channels * self._patch**2)
        if "image_sizes" in names and self.fields.get("image_grid_pinpoints"):
            tall, wide = self.tiled_size
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

    def videos(self) -> Tensor:
        """Make images that follow one another."""
        images = self.pixels()
        is_image = images.dim() == 4  # noqa: PLR2004 - the batch, the channels and two axes
        return images[:, None].repeat(1, _FRAMES, 1, 1, 1) if is_image else images

    def flattened_patches(self) -> Tensor:
        """Make rows of patches behind their row and column."""
        values = self.fields.integer("patch_embed_hidden_size", default=self.channels * self._patch**2)
        return torch.zeros(
            self.batch, self.fields.integer("seq_len", "max_patches", part="vision", default=2048), values + 2
        )

    def high_resolution(self) -> Tensor:
        """Make the images of a second tower, which are larger."""
        side = self.fields.integer("image_size", part="high_res", default=1024)
        return torch.zeros(self.batch, self.channels, side, side)

    def pixel_attention_mask(self) -> Tensor:
        """Mark all pixels, or all patches, as parts of images."""
        images = self.pixels()
        shape = (*images.shape[:2], *images.shape[-2:]) if images.dim() == 5 else images.shape[:2]  # noqa: PLR2004
        return torch.ones(shape, dtype=torch.bool, device="cpu")

    def patch_positions(self) -> Tensor:
        """Make the row and the column of each patch."""
        rows, columns = self.grid
        grid = torch.cartesian_prod(torch.arange(rows, device="cpu"), torch.arange(columns, device="cpu"))
        return grid.expand(self.batch, -1, -1)

    def _axis(self, name: str) -> int:
        """Return the size of an axis by its name in code or documentation."""
        if name.isdecimal():
            return int(name)
        if name in ("num_frames", "frames", "time", "num_timesteps"):
            return self.fields.integer("num_frames", default=_FRAMES)
        if name.endswith("num_tiles"):
            return self.tiles
        return 1
