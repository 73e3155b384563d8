"""A program with a Triton kernel, run with ``TRITON_INTERPRET=1``; ``late`` imports Triton inside the block."""

import contextlib
import json
import sys
import warnings

import torch

from opflops import Cost, OpFlopMode, UnpricedOpError


def kernels():
    """Define a kernel, and the same with its block size chosen by a heuristic and by an autotuner."""
    import triton  # noqa: PLC0415 - also inside the block
    from triton import language as tl  # noqa: PLC0415 - as above

    @triton.jit
    def axpy(x_ptr, y_ptr, n, a, BLOCK: tl.constexpr):  # noqa: N803 - as kernels spell constants
        offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        mask = offsets < n
        x, y = tl.load(x_ptr + offsets, mask=mask), tl.load(y_ptr + offsets, mask=mask)
        tl.store(y_ptr + offsets, a * x + y, mask=mask)

    chosen = triton.heuristics({"BLOCK": lambda _: 8})(axpy)
    return axpy, chosen, triton.autotune([triton.Config({"BLOCK": 16})], key=["n"])(axpy)


class Axpy(torch.autograd.Function):
    """Twice the input, forward and backward."""

    @staticmethod
    def forward(ctx, x, kernel):
        ctx.kernel = kernel
        out = torch.zeros_like(x)
        kernel[(1,)](x, out, x.numel(), 2.0, BLOCK=8)
        return out

    @staticmethod
    def backward(ctx, grad):
        out = torch.zeros_like(grad)
        ctx.kernel[(1,)](grad.contiguous(), out, grad.numel(), 2.0, BLOCK=8)
        return out, None


class Layer(torch.nn.Module):
    """Call the kernel."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def forward(self, x):
        """Return twice the input."""
        return Axpy.apply(x, self.kernel)


def axpy_cost(n, a, BLOCK, x_ptr, *, out):  # noqa: N803 - the kernel's name for it
    """Return the arguments, as a cost."""
    assert out is None
    return Cost(ops=n, macs=BLOCK, transcendentals=int(a) * x_ptr.numel())


def main():
    """Print what was seen, as JSON."""
    late = "late" in sys.argv
    made = None if late else kernels()
    seen = {}
    with warnings.catch_warnings(record=True) as caught, OpFlopMode() as mode:
        warnings.simplefilter("always")
        made = made or kernels()
        x = torch.ones(6, requires_grad=True)
        Layer(made[0])(x).sum().backward()
    seen["warnings"] = [str(each.message) for each in caught if "opflops" in str(each.message)]
    seen["gradient"] = x.grad.tolist()
    seen["unpriced"] = [[row.module, row.phase, row.calls] for row in mode.profile.rows if not row.priced]
    seen["ops"] = sorted({row.op for row in mode.profile.rows})
    out = torch.zeros(6)
    with contextlib.suppress(UnpricedOpError), OpFlopMode(strict=True):
        made[0][(1,)](torch.ones(6), out, 6, 2.0, BLOCK=8)
    seen["before strict"] = out.tolist()
    seen["priced"] = []
    for kernel, options in zip(made, ({"BLOCK": 8}, {}, {}), strict=True):
        with OpFlopMode(strict=True, formulas={"triton::axpy": axpy_cost}) as mode:
            kernel[(1,)](torch.ones(6), torch.zeros(6), 6, 2.0, **options)
        (row,) = [row for row in mode.profile.rows if row.op == "triton.axpy"]
        seen["priced"].append([row.calls, row.dtype, *row.cost[:4]])
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
