"""An independent tracker of live storages: a mode that sees the tensors of each operator, and is told of the others."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves


class StorageTracker(TorchDispatchMode):
    """Add up the bytes of storages that are alive, and keep the highest sum after an operator, by device.

    Attributes:
        live: The bytes by device.
        peaks: The highest by device.
    """

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True

    def __init__(self, *existing: Any, rounded: int = 1) -> None:
        super().__init__()
        self.live: dict[str, int] = {}
        self.peaks: dict[str, int] = {}
        self._seen: dict[int, Any] = {}
        self._rounded = rounded
        self.add(existing)

    @property
    def peak(self) -> int:
        return max(self.peaks.values(), default=0)

    def add(self, *trees: Any) -> None:
        for tensor in tree_leaves(trees):
            if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided:
                self._add_storage(tensor.untyped_storage(), str(tensor.device))
            elif isinstance(tensor, torch.Tensor) and tensor.layout is torch.sparse_coo:
                with _disable_current_modes(), torch.no_grad():
                    parts = tensor._indices(), tensor._values()
                self.add(parts)
                del parts

    def _add_storage(self, storage: Any, device: str) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = -(-storage.nbytes() // self._rounded) * self._rounded

        def forget(_: Any) -> None:
            self.live[device] -= size
            del self._seen[key]

        self.live[device] = self.live.get(device, 0) + size
        self._seen[key] = weakref.ref(storage, forget)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.add(args, kwargs, out)
        for device, live in self.live.items():
            self.peaks[device] = max(live, self.peaks.get(device, 0))
        return out


def state_of(*objects: Any) -> list[torch.Tensor]:
    """List the tensors that models, optimizers and tensors consist of now, with gradients."""
    found = []
    for each in objects:
        if isinstance(each, torch.nn.Module):
            found += [*each.parameters(), *each.buffers()]
            found += [parameter.grad for parameter in each.parameters() if parameter.grad is not None]
        elif hasattr(each, "param_groups"):
            found += tree_leaves([*map(dict, each.state.values())])
        else:
            found.append(each)
    return [each for each in found if isinstance(each, torch.Tensor)]
