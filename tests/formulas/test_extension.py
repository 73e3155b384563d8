"""Operators that some module of PyTorch defines: what moves, waits and multiplies; and that names are spelled right."""

import importlib

import pytest
import torch
from torch.sparse import semi_structured

from opflops import Cost, OpFlopMode, coverage
from opflops.pricing.registry import registry

# Every module that defines operators which are priced by name. An older PyTorch lacks some.
MODULES = """
torch._dynamo._trace_wrapped_higher_order_op torch._dynamo.variables.streams
torch._functorch._activation_offloading.offload_ops torch._inductor.fx_passes.bucketing torch._inductor.inductor_prims
torch._inductor.test_operators torch._prims.debug_prims torch._prims.rng_prims torch.ao.quantization.fx._decomposed
torch.distributed._functional_collectives torch.distributed._ops.device_mesh torch.distributed._symmetric_memory
torch.distributed.fsdp._fully_shard._fsdp_collectives torch.distributed.fsdp._fully_shard._fsdp_param
torch.distributed.pipelining._IR torch.distributed.tensor
torch.distributed.tensor.experimental._context_parallel._cp_custom_ops torch.export.custom_ops torch.nn.attention.varlen
torch.nn.modules.linear_cross_entropy torch.utils._debug_mode
"""
VERSION = tuple(map(int, torch.__version__.split(".")[:2]))
# Operators that came with PyTorch 2.14; kernels in the place of aten's have numbers that differ between machines.
LATER = """
coor::current_device mempool::begin mempool::end symm_mem::_low_contention_all_gather_ce_multicast
symm_mem::_low_contention_all_gather_ce_multicast_out symm_mem::memcpy_to_multicast_ symm_mem::nccl_all_to_all_nd
symm_mem::nccl_get_out symm_mem::nvshmem_get_out
"""
# Operators of torchao and transformers in namespaces that PyTorch or others use too.
OTHER_LIBRARIES = ("ao::mslk", "ao::blockwise_fp8", "blocksparse::", "float8_sparse::", "transformers::")
# Kernels as above, and operators of libraries that tests of their own load.
ELSEWHERE = ("_native::", "torchvision::", "image::", "bitsandbytes::", "torchao::", *OTHER_LIBRARIES)
# Operators that had other names before.
EARLIER = "prims::_low_memory_max_pool2d_with_offsets prims::_low_memory_max_pool2d_offsets_to_indices"


def _lacks(module):
    try:
        importlib.import_module(module)
    except ImportError:
        return True
    return False


def _load():
    missing = [module for module in MODULES.split() if _lacks(module)]
    for define in ("_ensure_cutlass_mm_registered", "_ensure_cusparselt_mm_registered"):
        getattr(semi_structured, define, lambda: None)()
    return missing


MISSING = _load()


def defined(name):
    """Tell whether the operator of a qualified name is there."""
    namespace, _, packet = name.partition("::")
    return hasattr(getattr(torch.ops, namespace), packet)


def needs(name):
    return pytest.mark.skipif(not defined(name), reason="this PyTorch has no such operator")


def charge(operator, out, *args, **kwargs):
    return registry.resolve(operator.default, {}).charge(out, args, kwargs)


def row_of(function):
    with OpFlopMode(strict=True) as mode:
        function()
    (row,) = mode.profile.rows
    return row


@pytest.mark.skipif(VERSION < (2, 13), reason="an older PyTorch lacks operators")
def test_names_are_spelled_right():
    """With every module loaded, each name that is priced is an operator's; no price waits for what never comes."""
    assert MISSING == []
    ours = {name for name in registry.named if not name.startswith(("docs", "opflops"))}
    missing = {name for name in ours if not (defined(name) or name.startswith(ELSEWHERE))}
    assert missing == set(EARLIER.split()) | (set(LATER.split()) if VERSION < (2, 14) else set())


@pytest.mark.skipif(bool(MISSING), reason="an older PyTorch defines other operators")
def test_whole_namespaces_are_priced():
    """With every module loaded, no operator of these namespaces is without a price."""
    named = {name.partition("::")[0] for name in registry.named}
    namespaces = {name for name in named if not name.startswith(("docs", "opflops", "_native"))}
    assert {"ao", "prims", "symm_mem", "torch_attn", "torch_nn", "quantized_decomposed"} <= namespaces
    assert [name for name, verdict in coverage(*namespaces).items() if verdict == "unpriced"] == []


SILENT = [
    ("coor::current_device", None, ()),
    ("debug_mode_ops::annotate", None, ("here",)),
    ("device_mesh::_get_submesh", None, (None, [0])),
    ("device_mesh::_get_flattened_submesh", None, (None, [0])),
    ("device_mesh::_runtime_compute_coordinate_on_dim", 0, (torch.zeros(2, 2), 0)),
    ("_dtensor::mesh_get_process_group", None, (None, 0)),
    ("pippy::_pipe_split", None, ()),
    ("profiler::_record_function_enter", torch.zeros(1), ("here",)),
    ("profiler::_record_function_enter_new", None, ("here",)),
    ("profiler::_record_function_exit", None, (torch.zeros(1),)),
]


@pytest.mark.parametrize(("name", "out", "args"), SILENT, ids=[case[0] for case in SILENT])
def test_marks_and_questions(name, out, args):
    """Marks in a program and questions about a mesh are no work, and leave no row."""
    if not defined(name):
        pytest.skip("this PyTorch has no such operator")
    namespace, _, packet = name.partition("::")
    price = registry.resolve(getattr(getattr(torch.ops, namespace), packet).default, {})
    assert (price.verdict, price.recorded) == ("zero", False)
    cost = price.charge(out, args, {})[0]
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, 0, 0)


def test_marks_leave_no_row():
    """A stretch of a program that is annotated has the rows that it had."""
    operator = torch.ops.profiler._record_function_enter
    with OpFlopMode(strict=True) as mode:
        handle = operator("here")
        torch.ops.profiler._record_function_exit(handle)
    assert mode.profile.rows == ()


x = torch.ones(2, 6)
# An operator, its result, its arguments, and bytes read and written.
MOVES = [
    ("ao::offload", x, (x,), 48, 48),
    ("ao::reload", x, (x, torch.device("cpu")), 48, 48),
    ("ao::wait_tensor", x, (x, x), 0, 0),
    ("bucketing::_pre_bucket_reduce_scatter", torch.ones(24), ([x, x], 2), 96, 96),
    # Two tensors into one of three parts of a bucket, in half of the bytes.
    ("bucketing::_pre_bucket_all_gather", torch.ones(72).half(), ([x, x], 3, torch.half, [0, 0], 1), 96, 48),
    ("debugprims::load_tensor", x, ("name", [2, 6], [6, 1]), 0, 48),
    ("_inductor_test::realize", x, (x,), 48, 48),
    ("export::access_subclass_inner_tensor", x, (x, "inner"), 0, 0),
    ("inductor::_alloc_from_pool", x, (x, 0, torch.float, [2, 6], [6, 1]), 0, 0),
    ("inductor::_reinterpret_tensor", x, (x, [6], [1]), 0, 0),
    ("inductor::resize_storage_bytes_", None, (x, 0), 0, 0),
    ("fsdp::copy_", None, (x, x), 48, 48),
    ("streams::fork", None, (0, 1), 0, 0),
    ("streams::join", None, (0, 1), 0, 0),
    ("streams::record_event", None, (0, 1), 0, 0),
    ("streams::record_stream", None, (x, 1), 0, 0),
    ("streams::sync_dealloc", None, (0, 1, x), 0, 0),
    ("streams::synchronize_device", None, ("cpu", 0), 0, 0),
    ("streams::synchronize_event", None, (0,), 0, 0),
    ("streams::synchronize_stream", None, (0,), 0, 0),
    ("streams::wait_event", None, (0, 1), 0, 0),
    ("streams::wait_stream", None, (0, 1), 0, 0),
    ("mempool::begin", None, (0, 1), 0, 0),
    ("mempool::end", None, (0, 1), 0, 0),
    ("mkl::_mkl_reorder_linear_weight", x, (x, 3), 48, 48),
]


@pytest.mark.parametrize(("name", "out", "args", "read", "written"), MOVES, ids=[case[0] for case in MOVES])
def test_moves(name, out, args, read, written):
    """Copies read and write; views and waiting do not; none of them does arithmetic."""
    if not defined(name):
        pytest.skip("this PyTorch has no such operator")
    namespace, _, packet = name.partition("::")
    cost = charge(getattr(getattr(torch.ops, namespace), packet), out, *args)[0]
    assert cost == Cost(bytes_read=read, bytes_written=written)


def test_copies_of_sharded_parameters():
    """What is gathered is split into the parameters, and gradients are joined; what is written into is not read."""
    if not (defined("fsdp::split_with_sizes_copy") and defined("fsdp::chunk_cat")):
        pytest.skip("this PyTorch has no such operators")
    operator = torch.ops.fsdp.all_gather_copy_in
    given = {"all_gather_inputs": [x[0]], "all_gather_output": x}
    call = {each.name: given.get(each.name) for each in operator.default._schema.arguments}
    assert charge(operator, (x[0], x), **call)[0] == Cost(bytes_read=24, bytes_written=24)
    parts = [torch.zeros(2, 2), torch.zeros(2, 4)]
    row = row_of(lambda: torch.ops.fsdp.split_with_sizes_copy(x, [2, 4], 1, out=parts))
    assert (row.op, row.cost) == ("fsdp.split_with_sizes_copy", Cost(bytes_read=48, bytes_written=48))
    joined = torch.zeros(2, 12)
    row = row_of(lambda: torch.ops.fsdp.chunk_cat([x, x], 0, 2, out=joined))
    assert row.cost == Cost(bytes_read=96, bytes_written=96)


@needs("flex_lib::zeros_and_scatter")
def test_adding_up_where_indices_say():
    """Five values are added up, three of them at one place, to two columns each."""
    index, values = torch.tensor([1, 1, 1, 0, 2]), torch.ones(5, 2)
    row = row_of(lambda: torch.ops.flex_lib.zeros_and_scatter([4, 2], [index], values))
    assert row.cost == Cost(ops=10, bytes_read=5 * 8 + 40, bytes_written=32)
    with OpFlopMode(strict=True) as apart:
        torch.zeros(4, 2).index_put((index,), values, accumulate=True)
    assert row.cost.ops == apart.total.ops


@needs("inductor::accumulate_grad_")
def test_accumulating_a_gradient():
    """The first gradient is kept as it is, the next is added to it; an older version does not tell which it is."""
    operator = torch.ops.inductor.accumulate_grad_
    if not any(each.name == "variable_grad" for each in operator.default._schema.arguments):
        cost, _, reason = charge(operator, None, x, x)
        assert (cost.macs, cost.ops, cost.transcendentals) == (0, 12, 0)
        assert "gradient" in reason
        return
    for given, ops in [((x, x, x), 12), ((x, None, x), 0), ((x, x, None), 0)]:
        cost, _, reason = charge(operator, None, *given)
        assert (cost.macs, cost.ops, cost.transcendentals, reason) == (0, ops, 0, "")


def test_the_sum_of_two_products():
    """(2, 6) by (6, 5) twice, and ten sums; what is written into is not read."""
    left, right, out = torch.ones(2, 6), torch.ones(6, 5), torch.ones(2, 5)
    row = row_of(lambda: torch.ops.inductor._mm_plus_mm(left, right, left, right, out))
    assert row.cost == Cost(macs=120, ops=10, bytes_read=4 * 84, bytes_written=40)


def native(prefix):
    """Find a kernel in the place of aten's by how its name begins, on a machine that has it."""
    found = [name for name in coverage("_native") if name.startswith(f"_native.{prefix}")]
    if not found:
        pytest.skip("this PyTorch has no such operator")
    return getattr(torch.ops._native, found[0].removeprefix("_native."))


def test_a_list_of_products():
    """(2, 6) by (6, 5), and (2, 6) by (6, 3)."""
    out = [torch.ones(2, 5), torch.ones(2, 3)]
    cost = charge(native("_foreach_mm_"), out, [x, x], [torch.ones(6, 5), torch.ones(6, 3)])[0]
    assert cost == Cost(macs=96, bytes_read=4 * (24 + 48), bytes_written=4 * 16)


def test_a_batch_of_products():
    """(3, 2, 6) by (3, 6, 5)."""
    cost = charge(native("bmm_"), torch.ones(3, 2, 5), torch.ones(3, 2, 6), torch.ones(3, 6, 5))[0]
    assert cost == Cost(macs=180, bytes_read=4 * (36 + 90), bytes_written=4 * 30)


@pytest.mark.parametrize("kernel", ["linalg_polar_native", "linalg_polar_out_native"])
def test_a_polar_decomposition_on_a_gpu(kernel):
    """It costs the same as aten's on other devices, whatever number its kernel has."""
    matrices = torch.ones(4, 5, 3)
    out = torch.ones(4, 5, 3), torch.ones(4, 3, 3)
    given = {"U": out[0], "H": out[1]} if "out" in kernel else {}
    cost = charge(native(kernel), out, matrices, **given)[0]
    assert (cost.macs, cost.bytes_written) == (4 * (5 * 9 + 27), 4 * 4 * (15 + 9))
    assert cost == charge(torch.ops.aten.linalg_polar, out, matrices)[0]


@needs("semi_structured::cutlass_mm")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_two_of_four(biased, transposed):
    """A sparse (8, 16) by (16, 5) takes half of 640 products; the five columns may be padded to eight, unseen."""
    dense = torch.ones(5, 16).half() if transposed else torch.ones(16, 5).half()
    bias = torch.ones(8) if biased else None
    packed, meta, out = torch.ones(8, 8).half(), torch.ones(8, 1).short(), torch.ones(8, 5).half()
    settings = (bias, 8, 8, 8)
    ours = torch.ops.semi_structured
    cost, dtype, _ = charge(ours.cutlass_mm, out, dense, packed, meta, *settings, transposed)
    assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (320, 40 * biased, 0, torch.half)
    cost, dtype, _ = charge(ours.cusparselt_mm, out, dense, packed, *settings, False, 0, transposed)
    assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (320, 40 * biased, 0, torch.half)


def conv2d(weight, bias, groups, activation):
    return torch.ops.mkldnn_prepacked.conv2d_prepack(
        weight, bias, [1, 1], [1, 1], [1, 1], groups, [2, 4, 6, 6], activation
    )


@needs("mkldnn_prepacked::conv2d_run")
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_packed_convolutions(groups, biased):
    """2 * 6 * 6 positions of each weight, and a sum for each of 432 results; whether a relu follows is not seen."""
    image, weight, bias = torch.randn(2, 4, 6, 6), torch.randn(6, 4 // groups, 3, 3), torch.randn(6)
    packed = conv2d(weight, bias if biased else None, groups, "none")
    row = row_of(lambda: torch.ops.mkldnn_prepacked.conv2d_run(image, packed))
    assert (row.cost.macs, row.cost.ops, row.cost.transcendentals) == (72 * weight.numel(), 432 * biased, 0)
    assert row.cost.bytes_read == 4 * (image.numel() + weight.numel() + 6 * biased)
    assert (row.cost.bytes_written, row.dtype) == (4 * 432, "float32")
    assert "relu" in row.estimate
    packed = conv2d(weight, bias if biased else None, groups, "relu")
    assert row_of(lambda: torch.ops.mkldnn_prepacked.conv2d_run(image, packed)).cost == row.cost
    assert registry.verdict(torch.ops.mkldnn_prepacked.conv2d_prepack.default) == "zero"


@needs("mkl::_mkl_linear")
def test_packed_linear_layers():
    """(2, 6) by (5, 6): 60 products and ten sums; the weight is read as it was laid out."""
    weight, bias, laid_out = torch.ones(5, 6), torch.ones(5), torch.ones(5, 6)
    cost, _, _ = charge(torch.ops.mkl._mkl_linear, torch.ones(2, 5), x, laid_out, weight, bias, 2)
    assert cost == Cost(macs=60, ops=10, bytes_read=4 * (12 + 30 + 5), bytes_written=40)
    assert charge(torch.ops.mkl._mkl_linear, torch.ones(2, 5), x, laid_out, weight, None, 2)[0].ops == 0
