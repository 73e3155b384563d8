"""Names of the kernels that PyTorch registers in the namespace ``_native``."""

_MOST_NATIVE_KERNELS = 16


def native_kernels(*names: str) -> list[str]:
    """Name the kernels that PyTorch puts in the place of aten's: each name with the numbers that it may have.

    They are numbered in the order in which they are registered, which depends on what is installed beside PyTorch.
    """
    return [f"_native::{name}_{number}" for name in names for number in range(_MOST_NATIVE_KERNELS)]
