"""Fused attention: against loops over single numbers, for every mask and in the layout of every kernel."""

import math
from itertools import pairwise

import pytest
import torch
from counted import cost_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten

BATCH, HEADS, KEY_HEADS, QUERIES, KEYS, D_QK, D_V = 2, 6, 3, 5, 7, 4, 3


class Counts:
    """Count what the loops below do."""

    def __init__(self):
        self.macs = self.ops = self.exponentials = 0

    def dot(self, left, right):
        self.macs += len(left)
        return sum(a * b for a, b in zip(left, right, strict=True))

    def operation(self, value, times=1):
        self.ops += times
        return value

    def exp(self, value):
        self.exponentials += 1
        return math.exp(value)

    @property
    def cost(self):
        return Cost(self.macs, self.ops, self.exponentials)


def everything(_query, _key):
    return True


def scores_of(counts, query, keys, bias):
    """Return the scaled scores of one query, with a bias added to each where there is one."""
    scores = [counts.operation(counts.dot(query, key) / math.sqrt(len(query))) for key in keys]
    if bias is None:
        return scores
    return [counts.operation(score + added) for score, added in zip(scores, bias, strict=True)]


def dropped(counts, values, keep):
    """Drop half of some values and double the others; ``keep`` has the random draws, each compared with a half."""
    if keep is None:
        return values
    kept = [counts.operation(float(draw > 0.5)) for draw in keep]
    return rescaled(counts, values, kept)


def rescaled(counts, values, kept):
    return [counts.operation(value * one * 2, times=2) for value, one in zip(values, kept, strict=True)]


def forward(query, key, value, sees=everything, bias=None, draws=None):
    """Attend with one head; returns the result, the logarithm of each row's sum, and the cost."""
    counts = Counts()
    result = [[0.0] * len(value[0]) for _ in query]
    log_sums = [-math.inf] * len(query)
    for i in range(len(query)):
        seen = [j for j in range(len(key)) if sees(i, j)]
        if not seen:
            continue
        scores = scores_of(counts, query[i], [key[j] for j in seen], bias and [bias[i][j] for j in seen])
        highest = scores[0]
        for score in scores[1:]:
            highest = counts.operation(max(highest, score))
        powers = [counts.exp(counts.operation(score - highest)) for score in scores]
        total = powers[0]
        for power in powers[1:]:
            total = counts.operation(total + power)
        probabilities = [counts.operation(power / total) for power in powers]
        probabilities = dropped(counts, probabilities, draws and [draws[i][j] for j in seen])
        result[i] = [counts.dot(probabilities, [value[j][at] for j in seen]) for at in range(len(value[0]))]
        log_sums[i] = highest + math.log(total)
    return result, log_sums, counts.cost


def backward(grad, query, key, value, sees=everything, bias=None, draws=None):
    """Differentiate attention with one head from its result and the logarithms that it kept; the scores are not kept.

    Returns the gradients of queries, keys and values, and the cost.
    """
    result, log_sums, _ = forward(query, key, value, sees, bias, draws)
    counts = Counts()
    d_query, d_key, d_value = ([[0.0] * len(row) for row in tensor] for tensor in (query, key, value))

    def accumulate(row, factor, addend):
        counts.macs += len(row)
        row[:] = [old + factor * new for old, new in zip(row, addend, strict=True)]

    for i in range(len(query)):
        seen = [j for j in range(len(key)) if sees(i, j)]
        if not seen:
            continue
        scores = scores_of(counts, query[i], [key[j] for j in seen], bias and [bias[i][j] for j in seen])
        probabilities = [counts.exp(counts.operation(score - log_sums[i])) for score in scores]
        products = [counts.operation(a * b) for a, b in zip(result[i], grad[i], strict=True)]
        delta = products[0]
        for product in products[1:]:
            delta = counts.operation(delta + product)
        weights, d_weights = probabilities, [counts.dot(grad[i], value[j]) for j in seen]
        if draws is not None:
            kept = [counts.operation(float(draws[i][j] > 0.5)) for j in seen]
            weights, d_weights = rescaled(counts, weights, kept), rescaled(counts, d_weights, kept)
        for j, weight, d_weight, probability in zip(seen, weights, d_weights, probabilities, strict=True):
            accumulate(d_value[j], weight, grad[i])
            difference = counts.operation(d_weight - delta)
            d_score = counts.operation(probability * difference)
            d_score = counts.operation(d_score / math.sqrt(len(query[i])))
            accumulate(d_query[i], d_score, key[j])
            accumulate(d_key[j], d_score, query[i])
    return d_query, d_key, d_value, counts.cost


def one_head(queries, keys, d_qk=D_QK, d_v=D_V):
    """Draw the queries, keys and values of one head, as nested lists."""
    return [torch.randn(rows, width).tolist() for rows, width in ((queries, d_qk), (keys, d_qk), (keys, d_v))]


def loop_cost(queries, keys, sees=everything, d_qk=D_QK, d_v=D_V, *, gradients=False, **options):
    """Return what one head costs in the loops."""
    tensors = one_head(queries, keys, d_qk, d_v)
    if gradients:
        return backward(torch.randn(queries, d_v).tolist(), *tensors, sees, **options)[-1]
    return forward(*tensors, sees, **options)[-1]


def ones(queries, keys):
    return [[1.0] * keys for _ in range(queries)]


def price(overload, *, causal="dense", **given_arguments):
    """Price a call without running it; returns the cost without bytes, and why it is an estimate.

    What is not given is nothing, no, or zero.
    """
    nothing = {"bool": False, "float": 0.0, "int": 0, "SymInt": 0, "List[bool]": [True] * 4}
    schema = overload._schema
    assert set(given_arguments) <= {argument.name for argument in schema.arguments}
    values = {
        argument.name: given_arguments.get(argument.name, nothing.get(str(argument.type)))
        for argument in schema.arguments
    }
    args = [values[argument.name] for argument in schema.arguments if not argument.kwarg_only]
    kwargs = {argument.name: values[argument.name] for argument in schema.arguments if argument.kwarg_only}
    cost, _, reason = registry.resolve(overload, {"causal": causal}).charge(None, tuple(args), kwargs)
    return Cost(cost.macs, cost.ops, cost.transcendentals), reason


def meta(*shape):
    return torch.empty(shape, device="meta")


# The loops compute attention.


MASKS = {
    "none": everything,
    "causal from the top left": lambda i, j: j <= i,
    "causal to the bottom right": lambda i, j: j <= i + KEYS - QUERIES,
    "window": lambda i, j: i - 1 <= j <= i + 1,
    "rows that see nothing": lambda i, j: i >= 2 and j >= i,
}


@pytest.mark.parametrize("sees", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("biased", [False, True])
def test_loops_compute_attention_and_its_gradients(sees, biased):
    """The loops that count give the results of the operator, so they are the right algorithm."""
    query, key, value = (torch.tensor(part, dtype=torch.float64).requires_grad_() for part in one_head(QUERIES, KEYS))
    bias = torch.randn(QUERIES, KEYS, dtype=torch.float64) * biased
    allowed = torch.tensor([[sees(i, j) for j in range(KEYS)] for i in range(QUERIES)])
    seeing = allowed.any(dim=1)
    mask = bias.masked_fill(~allowed, -math.inf)[seeing]
    expected = scaled_dot_product_attention(query[seeing][None], key[None], value[None], attn_mask=mask)[0]
    grad = torch.randn(QUERIES, D_V, dtype=torch.float64)
    gradients = torch.autograd.grad(expected, (query, key, value), grad[seeing])

    lists = [tensor.tolist() for tensor in (query, key, value)]
    result, _, _ = forward(*lists, sees, bias.tolist())
    torch.testing.assert_close(torch.tensor(result, dtype=torch.float64)[seeing], expected)
    for found, wanted in zip(backward(grad.tolist(), *lists, sees, bias.tolist()), gradients, strict=False):
        torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), wanted)


def test_loops_compute_dropout_and_its_gradients():
    """With dropout too, the loops give the results of the definition."""
    query, key, value = (torch.tensor(part, dtype=torch.float64).requires_grad_() for part in one_head(QUERIES, KEYS))
    draws = torch.rand(QUERIES, KEYS, dtype=torch.float64)
    weights = torch.softmax(query @ key.T / math.sqrt(D_QK), dim=-1)
    expected = (weights * (draws > 0.5) * 2) @ value
    grad = torch.randn(QUERIES, D_V, dtype=torch.float64)
    lists = [tensor.tolist() for tensor in (query, key, value)]
    result, _, _ = forward(*lists, draws=draws.tolist())
    torch.testing.assert_close(torch.tensor(result, dtype=torch.float64), expected)
    gradients = torch.autograd.grad(expected, (query, key, value), grad)
    for found, wanted in zip(backward(grad.tolist(), *lists, draws=draws.tolist()), gradients, strict=False):
        torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), wanted)


# Every kernel, in its own layout. A number of heads stands for its own letter: only queries and results have all.

LAYOUTS = {"heads first": (0, 2, 1, 3), "sequence first": (0, 1, 2, 3)}
"""From (batch, sequence, heads, head_dim)."""

FORWARD = {
    aten._scaled_dot_product_flash_attention.default: "heads first",
    aten._scaled_dot_product_flash_attention.quantized: "heads first",
    aten._scaled_dot_product_flash_attention_for_cpu.default: "heads first",
    aten._scaled_dot_product_efficient_attention.default: "heads first",
    aten._scaled_dot_product_cudnn_attention.default: "heads first",
    aten._scaled_dot_product_fused_attention_overrideable.default: "heads first",
    aten._scaled_dot_product_attention_math_for_mps.default: "heads first",
    aten._cudnn_attention_forward.default: "heads first",
    aten._flash_attention_forward.default: "sequence first",
    aten._flash_attention_forward.quantized: "sequence first",
    aten._flash_attention_forward_no_dropout_inplace.default: "sequence first",
    aten._efficient_attention_forward.default: "sequence first",
}
BACKWARD = {
    aten._scaled_dot_product_flash_attention_backward.default: "heads first",
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: "heads first",
    aten._scaled_dot_product_efficient_attention_backward.default: "heads first",
    aten._scaled_dot_product_cudnn_attention_backward.default: "heads first",
    aten._scaled_dot_product_fused_attention_overrideable_backward.default: "heads first",
    aten._cudnn_attention_backward.default: "heads first",
    aten._flash_attention_backward.default: "sequence first",
    aten._efficient_attention_backward.default: "sequence first",
}
KERNELS = {**FORWARD, **BACKWARD}
BIASES = {"attn_mask", "attn_bias", "bias"}


def takes(overload):
    return {argument.name for argument in overload._schema.arguments}


def operands(layout):
    """Make queries, keys and values of distinct sizes, with fewer heads of keys than of queries."""
    shapes = [(QUERIES, HEADS, D_QK), (KEYS, KEY_HEADS, D_QK), (KEYS, KEY_HEADS, D_V)]
    query, key, value = (meta(BATCH, *shape).permute(LAYOUTS[layout]) for shape in shapes)
    return {"query": query, "key": key, "value": value}


def all_heads(cost):
    return cost * (BATCH * HEADS)


def test_every_attention_kernel_of_this_pytorch_is_in_the_tables():
    """No kernel that the dispatcher knows is left out of these tests."""
    # The rest decomposes, is the whole module with its projections, or is a Triton kernel that nothing calls.
    others = ("scaled_dot_product_attention", "_scaled_dot_product_attention_math", "multi_head_attention", "triton")
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")]
    found = {name for name in names if "attention" in name and not name.endswith("out")}
    known = {overload.name() for overload in KERNELS}
    missing = {name.removeprefix("aten::") for name in found - known}
    assert all(name in others or any(other in name for other in others[2:]) for name in missing), missing


RUN_ON_META = [
    overload
    for overload in FORWARD
    if overload not in (aten._cudnn_attention_forward.default, aten._scaled_dot_product_attention_math_for_mps.default)
]


@pytest.mark.parametrize("overload", RUN_ON_META, ids=str)
def test_layouts_of_these_tests_are_those_of_the_kernels(overload):
    """The logarithms of row sums that a kernel returns are by batch, head and query: it reads the layout as we do."""
    tensors = operands(FORWARD[overload])
    arguments = {
        argument.name: {"float": 0.0, "int": 0, "bool": False}.get(str(argument.type))
        for argument in overload._schema.arguments
        if argument.name not in tensors and not argument.has_default_value()
    }
    arguments |= {name: size for name, size in (("max_q", QUERIES), ("max_k", KEYS)) if name in arguments}
    arguments |= {"out": tensors["query"]} if "out" in arguments else {}
    arguments |= {"compute_log_sumexp": True} if "compute_log_sumexp" in takes(overload) else {}
    result = overload(**tensors, **arguments)
    log_sums = result if isinstance(result, torch.Tensor) else result[1]
    rows = -(-QUERIES // 32) * 32 if "efficient" in str(overload) else QUERIES
    assert log_sums.shape[:3] == (BATCH, HEADS, rows)


@pytest.mark.parametrize("overload", KERNELS, ids=str)
def test_kernels_cost_what_the_loops_do(overload):
    """Each kernel costs the loops of one head, times batch and query heads, in its own layout."""
    expected = all_heads(loop_cost(QUERIES, KEYS, gradients=overload in BACKWARD))
    assert price(overload, **operands(KERNELS[overload])) == (expected, "")


@pytest.mark.parametrize("overload", [each for each in KERNELS if takes(each) & BIASES], ids=str)
def test_a_mask_is_added_to_each_score(overload):
    """A mask or bias takes one operation for each score, in the backward too, which computes the scores again."""
    (name,) = takes(overload) & BIASES
    expected = loop_cost(QUERIES, KEYS, gradients=overload in BACKWARD, bias=ones(QUERIES, KEYS))
    biased = price(overload, **operands(KERNELS[overload]), **{name: meta(BATCH, HEADS, QUERIES, KEYS)})
    assert biased == (all_heads(expected), "")


@pytest.mark.parametrize("overload", [each for each in KERNELS if "dropout_p" in takes(each)], ids=str)
def test_dropout_is_drawn_masks_and_scales(overload):
    """Dropout costs what the loops do, which draw it again in the backward as the kernels do."""
    expected = loop_cost(QUERIES, KEYS, gradients=overload in BACKWARD, draws=ones(QUERIES, KEYS))
    assert price(overload, **operands(KERNELS[overload]), dropout_p=0.5) == (all_heads(expected), "")


@pytest.mark.parametrize("overload", [each for each in KERNELS if "is_causal" in takes(each)], ids=str)
def test_causal_counts_the_square_or_what_the_mask_lets_through(overload):
    """Dense counts all pairs; exact the loops', aligned at the end in CUDA's flash kernels, elsewhere at the start."""
    gradients = overload in BACKWARD
    shift = KEYS - QUERIES if "flash" in str(overload) and "for_cpu" not in str(overload) else 0
    exact = loop_cost(QUERIES, KEYS, lambda i, j: j <= i + shift, gradients=gradients)
    dense = loop_cost(QUERIES, KEYS, gradients=gradients)
    tensors = operands(KERNELS[overload])
    assert price(overload, **tensors, is_causal=True, causal="exact") == (all_heads(exact), "")
    assert price(overload, **tensors, is_causal=True, causal="dense") == (all_heads(dense), "")
    assert price(overload, **tensors, causal="exact") == (all_heads(dense), "")


@pytest.mark.parametrize(
    "overload", [aten._flash_attention_forward.default, aten._flash_attention_forward_no_dropout_inplace.default]
)
def test_alibi_multiplies_and_adds(overload):
    """ALiBi takes two operations for each score: 2 batches x 6 heads x 5 queries x 7 keys x 2 = 840."""
    tensors = operands("sequence first")
    without, _ = price(overload, **tensors)
    with_slopes, _ = price(overload, **tensors, alibi_slopes=meta(HEADS))
    assert with_slopes - without == Cost(ops=840)


@pytest.mark.parametrize(
    ("overload", "batch"),
    [
        (aten._scaled_dot_product_fused_attention_overrideable.default, ()),
        (aten._scaled_dot_product_attention_math_for_mps.default, ()),
        (aten._scaled_dot_product_attention_math_for_mps.default, (2, 3)),
    ],
    ids=str,
)
def test_kernels_take_any_number_of_batch_axes(overload, batch):
    """Some kernels take no batch axis or several; each element of a batch costs the same."""
    query, key, value = (meta(*batch, 6, *shape) for shape in ((5, 4), (7, 4), (7, 3)))
    expected = loop_cost(5, 7) * (6 * math.prod(batch))
    assert price(overload, query=query, key=key, value=value) == (expected, "")


# Masks.

windows = st.one_of(st.none(), st.integers(-1, 6))
lengths = st.integers(1, 6)


@pytest.mark.parametrize("overload", [aten._flash_attention_forward.default, aten._flash_attention_backward.default])
@settings(deadline=None, max_examples=150)
@given(queries=lengths, keys=lengths, left=windows, right=windows, is_causal=st.booleans())
def test_flash_windows_count_the_pairs_that_a_loop_visits(overload, queries, keys, left, right, is_causal):
    """A query sees so many keys to the left and right of its own, the last query's being the last key."""
    before = math.inf if left in (None, -1) else left
    after = math.inf if right in (None, -1) else right
    after = 0 if is_causal else after

    def sees(i, j):
        own = i + keys - queries
        return own - before <= j <= own + after

    tensors = {"query": meta(1, queries, 1, 2), "key": meta(1, keys, 1, 2), "value": meta(1, keys, 1, 3)}
    options = {"is_causal": is_causal, "window_size_left": left, "window_size_right": right}
    gradients = overload in BACKWARD
    expected = loop_cost(queries, keys, sees, 2, 3, gradients=gradients)
    assert price(overload, **tensors, **options, causal="exact")[0] == expected
    square = loop_cost(queries, keys, everything, 2, 3, gradients=gradients)
    assert price(overload, **tensors, **options, causal="dense")[0] == square


@pytest.mark.parametrize(
    "overload", [aten._efficient_attention_forward.default, aten._efficient_attention_backward.default]
)
@settings(deadline=None, max_examples=150)
@given(queries=lengths, keys=lengths, mask=st.integers(0, 2), window=windows)
def test_efficient_masks_count_the_pairs_that_a_loop_visits(overload, queries, keys, mask, window):
    """Masks 1 and 2 are causal from the top left and to the bottom right; a window of w holds w keys; 0 is none."""

    def sees(i, j):
        own = i + (keys - queries if mask == 2 else 0)
        return (mask == 0 or j <= own) and (window in (None, 0, -1) or j > own - window)

    tensors = {"query": meta(1, queries, 1, 2), "key": meta(1, keys, 1, 2), "value": meta(1, keys, 1, 3)}
    options = {"custom_mask_type": mask, "window_size": window}
    expected = loop_cost(queries, keys, sees, 2, 3, gradients=overload in BACKWARD)
    assert price(overload, **tensors, **options, causal="exact")[0] == expected


# Sequences of their own lengths, one behind the other.

QUERY_LENGTHS, KEY_LENGTHS, USED = [3, 1, 5], [4, 2, 5], [2, 1, 5]


def starts(lengths, device="cpu"):
    """Return where each sequence starts, and where the last ends."""
    return torch.tensor([0, *lengths], dtype=torch.int32, device=device).cumsum(0, dtype=torch.int32)


PACKED = {
    aten._flash_attention_forward.default: ("cum_seq_q", "cum_seq_k"),
    aten._flash_attention_forward.quantized: ("cum_seq_q", "cum_seq_k"),
    aten._flash_attention_forward_no_dropout_inplace.default: ("cum_seq_q", "cum_seq_k"),
    aten._flash_attention_backward.default: ("cum_seq_q", "cum_seq_k"),
    aten._efficient_attention_forward.default: ("cu_seqlens_q", "cu_seqlens_k"),
    aten._efficient_attention_backward.default: ("cu_seqlens_q", "cu_seqlens_k"),
    aten._cudnn_attention_forward.default: ("cum_seq_q", "cum_seq_k"),
    aten._cudnn_attention_backward.default: ("cum_seq_q", "cum_seq_k"),
}


def packed(overload, device="cpu"):
    """Make the arguments for three sequences: of 9 queries and 11 keys altogether."""
    names = PACKED[overload]
    efficient = names[0] == "cu_seqlens_q"
    tensors = {
        "query": meta(9, HEADS, D_QK),
        "key": meta(11, KEY_HEADS, D_QK),
        "value": meta(11, KEY_HEADS, D_V),
    }
    if efficient:
        tensors = {name: tensor[None] for name, tensor in tensors.items()}
    longest = ("max_seqlen_q", "max_seqlen_k") if efficient else ("max_q", "max_k")
    return {
        **tensors,
        **dict(zip(longest, (5, 5), strict=True)),
        names[0]: starts(QUERY_LENGTHS, device),
        names[1]: starts(KEY_LENGTHS, device),
    }


def sequences_cost(queries, keys, shifted=None, **options):
    """Return what the loops cost for some sequences; causal if ``shifted`` says whether to the bottom right."""

    def sees_of(queries, keys):
        if shifted is None:
            return everything
        shift = keys - queries if shifted else 0
        return lambda i, j: j <= i + shift

    each = (
        loop_cost(one_queries, one_keys, sees_of(one_queries, one_keys), **options)
        for one_queries, one_keys in zip(queries, keys, strict=True)
    )
    return sum(each) * HEADS


@pytest.mark.parametrize("overload", PACKED, ids=str)
def test_packed_sequences_count_by_their_true_lengths(overload):
    """Sequences that lie one behind the other meet nobody else's keys."""
    expected = sequences_cost(QUERY_LENGTHS, KEY_LENGTHS, gradients=overload in BACKWARD)
    assert price(overload, **packed(overload)) == (expected, "")


@pytest.mark.parametrize("overload", PACKED, ids=str)
def test_packed_sequences_are_causal_each_for_itself(overload):
    """An exact count of a causal mask is aligned in each sequence: at its end in the flash kernels."""
    arguments = packed(overload)
    arguments |= {"is_causal": True} if "is_causal" in takes(overload) else {"custom_mask_type": 1}
    expected = sequences_cost(
        QUERY_LENGTHS, KEY_LENGTHS, shifted="flash" in str(overload), gradients=overload in BACKWARD
    )
    assert price(overload, **arguments, causal="exact") == (expected, "")


@pytest.mark.parametrize("overload", PACKED, ids=str)
def test_lengths_without_values_count_as_the_longest_and_say_so(overload):
    """Where the lengths are only shapes, every one of the three sequences counts as 5 x 5, as an estimate."""
    expected = sequences_cost([5, 5, 5], [5, 5, 5], gradients=overload in BACKWARD)
    cost, reason = price(overload, **packed(overload, "meta"))
    assert cost == expected
    assert "no values" in reason
    assert "longest" in reason


@pytest.mark.parametrize("overload", PACKED, ids=str)
def test_packed_sequences_drop_what_the_loops_do(overload):
    """Dropout costs the same in packed sequences as in a square batch."""
    expected = sequences_cost(
        QUERY_LENGTHS, KEY_LENGTHS, gradients=overload in BACKWARD, draws=ones(max(QUERY_LENGTHS), max(KEY_LENGTHS))
    )
    assert price(overload, **packed(overload), dropout_p=0.5) == (expected, "")


@pytest.mark.parametrize("overload", [each for each in PACKED if takes(each) & BIASES], ids=str)
def test_packed_sequences_add_a_mask(overload):
    """A bias takes one operation for each score in packed sequences too."""
    (name,) = takes(overload) & BIASES
    expected = sequences_cost(
        QUERY_LENGTHS, KEY_LENGTHS, gradients=overload in BACKWARD, bias=ones(max(QUERY_LENGTHS), max(KEY_LENGTHS))
    )
    assert price(overload, **packed(overload), **{name: meta(HEADS, 9, 11)}) == (expected, "")


@pytest.mark.parametrize("overload", [each for each in PACKED if "cum_seq_q" in takes(each)], ids=str)
def test_starts_of_a_square_batch_are_not_read(overload):
    """A batch that is not packed has its lengths in its shape; what stands for starts there is empty."""
    empty = torch.empty(0, dtype=torch.int32)
    square = price(overload, **operands(KERNELS[overload]))
    assert price(overload, **operands(KERNELS[overload]), cum_seq_q=empty, cum_seq_k=empty) == square


def test_estimate_is_told_in_the_row():
    """A run on meta tensors says in its row that the lengths are not known."""
    arguments = packed(aten._efficient_attention_forward.default, "meta")
    with OpFlopMode(strict=True) as mode:
        aten._efficient_attention_forward(**arguments, bias=None, dropout_p=0.0, custom_mask_type=0)
    (row,) = mode.profile.rows
    assert "longest" in row.estimate


def test_longest_of_packed_sequences_may_be_left_out():
    """Where neither lengths nor the longest are known, it is all tokens: 3 sequences of 9 queries and 11 keys."""
    arguments = packed(aten._efficient_attention_forward.default, "meta") | {"max_seqlen_q": None, "max_seqlen_k": None}
    cost, reason = price(aten._efficient_attention_forward.default, **arguments)
    assert cost == sequences_cost([9, 9, 9], [11, 11, 11])
    assert reason


CACHES = [
    (aten._flash_attention_forward.default, "seqused_k"),
    (aten._flash_attention_forward.quantized, "seqused_k"),
    (aten._efficient_attention_forward.default, "seqlen_k"),
]


@pytest.mark.parametrize(("overload", "used"), CACHES, ids=str)
def test_caches_count_the_keys_that_they_hold(overload, used):
    """Room for keys that a cache does not hold yet costs nothing, packed or not."""
    lengths = torch.tensor(USED, dtype=torch.int32)
    assert price(overload, **packed(overload), **{used: lengths}) == (sequences_cost(QUERY_LENGTHS, USED), "")
    tensors = {"query": meta(3, 5, HEADS, D_QK), "key": meta(3, 7, HEADS, D_QK), "value": meta(3, 7, HEADS, D_V)}
    assert price(overload, **tensors, **{used: lengths}) == (sequences_cost([5, 5, 5], USED), "")
    unknown, reason = price(overload, **tensors, **{used: lengths.to("meta")})
    assert unknown == sequences_cost([5, 5, 5], [7, 7, 7])
    assert "longest" in reason


@pytest.mark.parametrize("in_pages", [{}, {"cum_seq_k": starts([4, 4, 4])}])
def test_pages_of_keys_count_by_the_keys_in_use(in_pages):
    """A paged cache has the shape of its pages; what each sequence really has is distinguished from that."""
    pages = {"key": meta(8, 4, KEY_HEADS, D_QK), "value": meta(8, 4, KEY_HEADS, D_V)}
    table = torch.zeros(3, 2, dtype=torch.int32)
    used = torch.tensor(USED, dtype=torch.int32)
    kernel = aten._flash_attention_forward.default
    arguments = packed(kernel) | {"cum_seq_k": None} | in_pages | pages | {"block_table": table, "max_k": 6}
    assert price(kernel, **arguments, seqused_k=used) == (sequences_cost(QUERY_LENGTHS, USED), "")
    assert price(kernel, **arguments) == (sequences_cost(QUERY_LENGTHS, [6, 6, 6]), "")
    square = pages | {"query": meta(3, 5, HEADS, D_QK), "block_table": table, "max_q": 5, "max_k": 6}
    assert price(kernel, **square, seqused_k=used) == (sequences_cost([5, 5, 5], USED), "")
    unknown, reason = price(kernel, **square, seqused_k=used.to("meta"))
    assert unknown == sequences_cost([5, 5, 5], [6, 6, 6])
    assert reason


# Fused and unfused.


def heads_first(heads=3, key_heads=3, queries=5, keys=7, d_qk=4, d_v=4):
    return (
        torch.randn(2, heads, queries, d_qk),
        torch.randn(2, key_heads, keys, d_qk),
        torch.randn(2, key_heads, keys, d_v),
    )


CALLS = {
    "plain": ({}, {}),
    "square": ({"keys": 5}, {}),
    "causal": ({}, {"is_causal": True}),
    "float mask": ({}, {"attn_mask": torch.zeros(5, 7)}),
    "bool mask": ({}, {"attn_mask": torch.ones(5, 7, dtype=torch.bool)}),
    "grouped queries": ({"heads": 6}, {"enable_gqa": True}),
    "scale": ({}, {"scale": 0.5}),
    "wider values": ({"d_v": 9}, {}),
}
MACS = {
    # 2 batches x heads x 5 queries x keys x (d_qk + d_v)
    "plain": 1680,
    "square": 1200,
    "causal": 1680,
    "float mask": 1680,
    "bool mask": 1680,
    "grouped queries": 3360,
    "scale": 1680,
    "wider values": 2730,
}
GRAD_MODES = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode}


@pytest.mark.parametrize("grad_mode", GRAD_MODES.values(), ids=GRAD_MODES)
@pytest.mark.parametrize("call", CALLS)
def test_fused_kernel_costs_what_the_math_path_does(call, grad_mode):
    """Both ways take the same multiply-accumulates and exponentials, in every grad mode."""
    sizes, options = CALLS[call]
    tensors = [tensor.requires_grad_() for tensor in heads_first(**sizes)]

    def attend():
        with grad_mode():
            scaled_dot_product_attention(*tensors, **options)

    fused = cost_of(attend)
    with sdpa_kernel(SDPBackend.MATH):
        math_path = cost_of(attend)
    assert fused.macs == math_path.macs == MACS[call]
    assert fused.transcendentals == math_path.transcendentals == MACS[call] // sum(t.shape[-1] for t in tensors[1:])


def test_cpu_takes_the_fused_kernel():
    """The comparison above is of two different ways: by default the CPU runs its fused kernel."""
    tensors = heads_first()
    with OpFlopMode(strict=True) as mode:
        scaled_dot_product_attention(*tensors)
    assert set(mode.profile.by("op")) == {"aten._scaled_dot_product_flash_attention_for_cpu"}


@pytest.mark.parametrize("causal", ["dense", "exact"])
def test_fused_backward_is_five_products(causal):
    """A backward is 2.5 times the products of its forward where values are as wide as keys; each exp comes again."""
    query, key, value = (tensor.requires_grad_() for tensor in heads_first(keys=5))
    with OpFlopMode(strict=True, causal=causal) as mode:
        scaled_dot_product_attention(query, key, value, is_causal=True).sum().backward()
    forward_cost = mode.profile.by("op")["aten._scaled_dot_product_flash_attention_for_cpu"]
    backward_cost = mode.profile.by("op")["aten._scaled_dot_product_flash_attention_for_cpu_backward"]
    # 2 batches x 3 heads x 25 or 15 pairs
    pairs = {"dense": 150, "exact": 90}[causal]
    assert forward_cost.macs == pairs * 8
    assert backward_cost.macs == pairs * 20
    assert forward_cost.transcendentals == backward_cost.transcendentals == pairs


def test_math_path_backward_is_four_products():
    """The math path keeps its scores, so its backward is twice its forward."""
    query, key, value = (tensor.requires_grad_() for tensor in heads_first())
    with sdpa_kernel(SDPBackend.MATH), OpFlopMode(strict=True) as mode:
        scaled_dot_product_attention(query, key, value).sum().backward()
    phases = mode.profile.by("phase")
    assert phases["backward"].macs == 2 * phases["forward"].macs == 2 * 1680


def test_known_figure_of_the_cpu_kernel():
    """Self-attention of (1, 12, 64, 64) takes 12,582,912 operations in its products."""
    tensor = torch.randn(1, 12, 64, 64)
    assert 2 * cost_of(scaled_dot_product_attention, tensor, tensor, tensor).macs == 12_582_912


def test_known_figure_of_the_efficient_kernel():
    """Batch 2, 1024 queries and keys, 16 heads of 64, in its own layout: 8,589,934,592 operations in the products."""
    tensor = meta(2, 1024, 16, 64)
    cost = cost_of(
        lambda: aten._efficient_attention_forward(tensor, tensor, tensor, None, None, None, None, None, 0.0, 0)
    )
    assert 2 * cost.macs == 8_589_934_592


def test_fake_tensors_cost_what_real_ones_do():
    """Shapes alone are enough."""
    real = cost_of(scaled_dot_product_attention, *heads_first())
    with FakeTensorMode():
        fakes = heads_first()
        assert cost_of(scaled_dot_product_attention, *fakes) == real


def test_starts_are_where_sequences_start():
    """The helper of these tests gives running sums from zero."""
    found = starts(KEY_LENGTHS).tolist()
    assert [after - before for before, after in pairwise(found)] == KEY_LENGTHS
    assert found[0] == 0
