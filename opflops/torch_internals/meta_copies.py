"""Copies of tensors on meta, which share storage where the originals do."""

from __future__ import annotations

import copy

import torch
from torch import Tensor


class MetaTensorCopier:
    """Copy tensors without the graph that computed them; those on meta share storage where the originals do.

    ``copy.deepcopy`` gives each tensor on meta a storage of its own, and refuses a graph.
    """

    def __init__(self) -> None:
        self._storages: dict[int, torch.UntypedStorage] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        """Copy a tensor. It must stay alive as long as this object."""
        if not is_plain_on_meta(tensor):
            return copy.deepcopy(tensor) if tensor.is_leaf else self._detached(copy.deepcopy(tensor.detach()), tensor)
        original = tensor.untyped_storage()
        storage = self._storages.get(original._cdata)
        made = None
        if storage is None:
            if not tensor.storage_offset():
                made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
                storage = made.untyped_storage()
            if storage is None or storage.nbytes() != original.nbytes():
                made, storage = None, torch.UntypedStorage(original.nbytes(), device="meta")
            self._storages[original._cdata] = storage
        if made is None:
            made = torch.empty(0, dtype=tensor.dtype, device="meta")
            made.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())
        if type(tensor) is torch.nn.Parameter:
            return torch.nn.Parameter(made, requires_grad=tensor.requires_grad)
        made = self._detached(made, tensor)
        if tensor.is_leaf and tensor.grad is not None:
            made.grad = copy.deepcopy(tensor.grad)
        return made

    @staticmethod
    def _detached(made: Tensor, original: Tensor) -> Tensor:
        return made.requires_grad_(original.requires_grad)


def is_plain_on_meta(tensor: Tensor) -> bool:
    """Return whether shape, strides and dtype say all of a tensor on meta."""
    if type(tensor) not in (Tensor, torch.nn.Parameter) or not tensor.is_meta or tensor.layout is not torch.strided:
        return False
    return not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or tensor.is_nested)
