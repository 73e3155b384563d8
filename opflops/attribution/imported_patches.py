"""Patches of modules that few programs import: those that a program has imported, and those that it imports inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.attribution.compiled_subgraphs import wrap_uncounted
from opflops.attribution.kernel_launches import wrap_kernel_run
from opflops.attribution.unseen_calls import wrap_package_call
from opflops.attribution.wrapper_patches import wrapper_patches
from opflops.torch_internals.distributed_tensors import (
    PROPAGATION_MODULE,
    loaded_sharding_propagations,
    sharding_propagations,
)
from opflops.torch_internals.distributed_wrappers import WRAPPER_MODULES
from opflops.torch_internals.triton_kernels import LAUNCHING_MODULES, kernel_launchers
from opflops.torch_internals.unseen_work import PACKAGE_MODULES, package_callables

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]

PATCHED_ON_IMPORT = (*LAUNCHING_MODULES, *PACKAGE_MODULES, PROPAGATION_MODULE, *WRAPPER_MODULES)
"""The names of the modules."""

EXTENSION_MODULES = (*LAUNCHING_MODULES, *PACKAGE_MODULES)
"""Those of them that need no process group."""


def group_patches() -> list[tuple[Any, str, Wrapper]]:
    """Return the patches of what needs a process group, without which there are no distributed tensors."""
    return [
        *wrapper_patches(),
        *((owner, name, wrap_uncounted) for owner, name in loaded_sharding_propagations()),
    ]


def patches_of(module: ModuleType) -> list[tuple[Any, str, Wrapper]]:
    """Return the patches of one of the modules, each as owner, attribute and what makes the wrapper."""
    return [
        *((owner, name, wrap_kernel_run) for owner, name in kernel_launchers(module)),
        *((owner, name, wrap_package_call) for owner, name in package_callables(module)),
        *((owner, name, wrap_uncounted) for owner, name in sharding_propagations(module)),
        *wrapper_patches(module),
    ]
