"""The process group of what torchrun started, for programs that make none themselves."""

from __future__ import annotations

import functools
import os
import socket
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from opflops.errors import OpflopsError

if TYPE_CHECKING:
    from opflops.distributed.launch import Launch

_CPU, _GPU = "gloo", "cpu:gloo,cuda:nccl"
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_LOOPBACK = ("lo", "lo0")


class JointGroup:
    """Make the process group of all processes, and stores that they share.

    A program that calls ``init_process_group`` itself gets the group that is there, if its backend is served.

    Args:
        launch: Which of the processes this is.

    Raises:
        OpflopsError: This build of PyTorch has no torch.distributed.
    """

    def __init__(self, launch: Launch) -> None:
        if not distributed.is_available():
            raise OpflopsError("torchrun needs torch.distributed, which this build of PyTorch does not have.")
        self.launch = launch
        self.backend = ""
        self._api: Any = distributed
        self._replaced: list[tuple[Any, Any]] = []
        self._base = self._connect()

    def _connect(self) -> Any:
        store, _, _ = next(self._api.rendezvous("env://", self.launch.rank, self.launch.world_size))
        return store

    def store(self, purpose: str) -> Any:
        """Return a store with keys of its own, over a connection of its own: one that waits holds up no other."""
        return self._api.PrefixStore(f"opflops/{purpose}", self._connect())

    def begin(self, device: str | None) -> str:
        """Make the process group, and return the device that this process runs on.

        Args:
            device: The device that the user chose; None for the GPU, if each process has one, or else the CPU.

        Raises:
            OpflopsError: The processes are more than the GPUs.
        """
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if device is None:
            device = "cuda" if gpus >= self.launch.local_size else "cpu"
        if device == "cuda" and gpus and gpus < self.launch.local_size:
            raise OpflopsError(
                f"torchrun started {self.launch.local_size} processes on this machine, which has {gpus} GPU"
                f"{'' if gpus == 1 else 's'}. Give --device cpu, or start --nproc-per-node {gpus}."
            )
        if device == "cuda" and gpus:
            torch.cuda.set_device(self.launch.local_rank)
        if self.launch.on_one_machine:
            # Otherwise the group looks for this machine by its name.
            loopback = next((name for _, name in socket.if_nameindex() if name in _LOOPBACK), None)
            for variable in _INTERFACES if loopback else ():
                os.environ.setdefault(variable, str(loopback))
        self.backend = _GPU if device == "cuda" and gpus else _CPU
        if not distributed.is_initialized():
            store = self._api.PrefixStore("opflops/group", self._base)
            self._api.init_process_group(
                self.backend, store=store, rank=self.launch.rank, world_size=self.launch.world_size
            )
        self._replace_initializer()
        return device

    def _replace_initializer(self) -> None:
        """Let the program's own ``init_process_group`` accept the group that is there."""
        original = distributed.init_process_group

        @functools.wraps(original)
        def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> None:
            if not distributed.is_initialized():
                original(backend, *args, **kwargs)
            elif not self._serves(backend):
                raise OpflopsError(
                    f"The program asks for a process group with {backend}, and opflops made one with {self.backend} "
                    "before. --device cpu makes one with gloo, --device cuda one with gloo and nccl."
                )

        for module in (distributed, distributed.distributed_c10d):
            self._replaced.append((module, original))
            vars(module)["init_process_group"] = init_process_group

    def _serves(self, backend: str | None) -> bool:
        """Tell whether the group has a backend; also for the devices that it is asked for."""
        wanted = {each.rpartition(":")[2].lower() for each in (str(backend) if backend else "").split(",")} - {""}
        return wanted <= {each.rpartition(":")[2] for each in self.backend.split(",")}

    def end(self) -> None:
        """End the process group, and let ``init_process_group`` be PyTorch's again."""
        while self._replaced:
            module, original = self._replaced.pop()
            vars(module)["init_process_group"] = original
        if distributed.is_initialized():
            distributed.destroy_process_group()
