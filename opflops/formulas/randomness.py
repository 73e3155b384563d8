"""Random fills: the generator's arithmetic is not counted; arithmetic on the random numbers is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.pointwise import Elementwise, register
from opflops.formulas.reduction import rows_along
from opflops.formulas.sizes import aten, newer, packets, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost
from opflops.torch_internals.size_arithmetic import ceil_log2

if TYPE_CHECKING:
    from torch import Tensor

# Fills do not read the tensor that they overwrite, or that only gives its shape; a generator's key is read.
declare_zero(
    *packets("cauchy exponential geometric log_normal normal_functional random uniform rand_like randint_like"),
    *packets("_fill_mem_eff_dropout_mask_ bernoulli_ normal_ randn_like"),
    *newer("_philox_normal", "_philox_uniform"),
    unread=("self",),
)
declare_zero(
    *packets("_cudnn_init_dropout_state rand randint randn randperm"),
    *newer("_philox_key_fold_in", "_philox_key_split"),
)
# Samplers read their parameters; a tensor that only gives its shape is not read.
declare_zero(*packets("_sample_dirichlet _standard_gamma binomial normal poisson"), aten.bernoulli.default)
declare_zero(aten.bernoulli.p, aten.bernoulli.Tensor, unread=("self",))

# The derivatives of samples by the parameters are not elementary functions, so each is one transcendental.
register(
    {
        "_standard_gamma_grad": Elementwise("d sample / d alpha", 0, 1),
        "_dirichlet_grad": Elementwise("d sample / d alpha", 0, 1),
        "_masked_scale": Elementwise("x * mask * scale", 2),
        "_fused_dropout": Elementwise("(random < p) * x * (1 / p), where p is the probability to keep", 3),
    },
    __name__,
)


@formula(aten.multinomial)
def multinomial(self: Tensor, num_samples: int, replacement: bool = False) -> Cost:
    """Draw from each row of n weights, by the method of PyTorch's kernels; their checks of the weights do not count.

    Without replacement, take the highest of ``weight / exponential``: n divisions, and n - 1 comparisons for one sample
    or a topk, which costs a sort, for more. With replacement, divide the cumulative sum (n - 1 additions) by its last
    element, and search it for each sample in ceil(log2(n + 1)) comparisons. A single sample always uses the first
    method.
    """
    elements, rows, weights = self.numel(), rows_along(self, -1), self.shape[-1]
    if num_samples == 1:
        return Cost(ops=elements + reduction_ops(elements, rows))
    if replacement:
        return Cost(ops=reduction_ops(elements, rows) + elements + rows * num_samples * ceil_log2(weights + 1))
    return Cost(ops=elements + elements * ceil_log2(weights))
