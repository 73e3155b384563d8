"""Random fills do no arithmetic that is counted, whatever the generator takes; what is done with the numbers is."""

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

# Fills: what is overwritten is not read first, nor what lends its shape; a generator's key is.
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
# Draws read their parameters, unless those are given apart from the tensor that lends its shape.
declare_zero(*packets("_sample_dirichlet _standard_gamma binomial normal poisson"), aten.bernoulli.default)
declare_zero(aten.bernoulli.p, aten.bernoulli.Tensor, unread=("self",))

# Derivatives of the inverses of the incomplete gamma and beta functions by their parameters are not elementary.
register(
    {
        "_standard_gamma_grad": Elementwise("d sample / d alpha", 0, 1),
        "_dirichlet_grad": Elementwise("d sample / d alpha", 0, 1),
        "_masked_scale": Elementwise("x * mask * scale", 2),
        "_fused_dropout": Elementwise("(random < p) * x * (1 / p), where p is the share that is kept", 3),
    },
    __name__,
)


@formula(aten.multinomial)
def multinomial(self: Tensor, num_samples: int, replacement: bool = False) -> Cost:
    """Draw from each row of n weights, in the way of PyTorch's kernels; their checks of the weights do not count.

    Without replacement, the highest of ``weight / exponential`` win: n divisions, and n - 1 comparisons for one, or
    the sort that answers a topk for more. With it, running sums in n - 1 additions are divided by the last of them,
    and each sample is looked up among them in ceil(log2(n + 1)) comparisons, as by searchsorted. One sample is drawn
    in the first way in any case.
    """
    elements, rows, weights = self.numel(), rows_along(self, -1), self.shape[-1]
    if num_samples == 1:
        return Cost(ops=elements + reduction_ops(elements, rows))
    if replacement:
        return Cost(ops=reduction_ops(elements, rows) + elements + rows * num_samples * ceil_log2(weights + 1))
    return Cost(ops=elements + elements * ceil_log2(weights))
