"""Private interfaces of PyTorch behave as opflops expects."""

import gc
import itertools
import logging
import sys
import threading
from copy import deepcopy
from types import FunctionType

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper, offload_wrapper
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nested._internal.nested_tensor import NestedTensor
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from trace_format import recording_all_threads

from opflops.formulas.sizes import NEWER, aten
from opflops.torch_internals import (
    autograd,
    compiler,
    composite_kernels,
    dispatch,
    distributed_tensors,
    fake_tensor_checks,
    fake_tensors,
    higher_order,
    jit_graphs,
    known_values,
    mode_stack,
    module_call,
    modules,
    optimizers,
    process_groups,
    profiler,
    rank_exchange,
    size_arithmetic,
    state_copies,
    tensor_construction,
    tensor_layouts,
    tensor_sizes,
    tracing,
)

X = torch.ones(2, requires_grad=True)


class Quiet(TorchDispatchMode):
    """Run every operator, and note what dispatch_modes says meanwhile."""

    def __init__(self):
        super().__init__()
        self.seen_inside = []
        self.higher = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen_inside.append(dispatch.dispatch_modes())
        return func(*args, **(kwargs or {}))


class Ordered(dispatch.DispatchMode):
    """Run every operator."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def flags():
    return [getattr(_python_dispatch, name) for name, _, _ in mode_stack._FLAGS]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_modes_leave_in_any_order_and_flags_follow(order):
    """PyTorch's flags are what the modes on the stack make them, and as before at the end."""
    modes = [Ordered(), Quiet(), Ordered()]
    outside = flags()
    for mode in modes:
        mode.__enter__()
    assert flags() == [True, True, True]
    rest = list(modes)
    for index in order:
        mode = modes[index]
        if mode is modes[1] and rest[-1] is not mode:
            continue  # PyTorch's own modes leave from the top only
        rest.remove(mode)
        mode.__exit__(None, None, None)
        assert dispatch.dispatch_modes() == rest
        assert flags() == [bool(rest), bool(rest), modes[1] in rest]
    for mode in reversed(rest):
        mode.__exit__(None, None, None)
    assert dispatch.dispatch_modes() == []
    assert flags() == outside == [False, False, False]


def test_a_mode_that_has_ended_but_is_on_the_stack_is_found():
    """PyTorch takes off the mode on top in place of one that ends below; another that runs is left alone."""
    below, above = Quiet(), Ordered()
    below.__enter__()
    above.__enter__()
    assert not mode_stack.take_off_ended()
    below.__exit__(None, None, None)
    assert dispatch.dispatch_modes() == [below]
    assert not mode_stack.leave_mode(above)
    assert mode_stack.take_off_ended()
    assert dispatch.dispatch_modes() == []
    mode_stack.take_off(above)
    assert flags() == [False, False, False]


def test_dispatch_modes_lists_active_modes_outermost_first():
    """A mode that is handling an operator is not in the list; another thread has its own."""
    with Quiet() as outer, Quiet() as inner:
        assert dispatch.dispatch_modes() == [outer, inner]
        X.detach() + 1
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(dispatch.dispatch_modes()))
        thread.start()
        thread.join()
    assert dispatch.dispatch_modes() == []
    assert elsewhere == [[]]
    assert inner.seen_inside == [[outer]] * len(inner.seen_inside) != []
    assert outer.seen_inside == [[]] * len(outer.seen_inside) != []


def test_a_mode_receives_operators_without_a_wrapper():
    """Newer versions wrap the method of other dispatch modes, so that the compiler skips it."""

    class Mode(dispatch.DispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    assert not hasattr(Mode.__torch_dispatch__, "__wrapped__")
    with Mode():
        assert torch.equal(X + X, 2 * X)


def test_a_backward_pass_has_a_number_and_a_current_node():
    """Inside a hook of a tensor there are both, outside a backward neither."""
    seen = []
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.register_hook(lambda grad: seen.append((autograd.current_node(), autograd.graph_task_id())))
    assert autograd.current_node() is None
    assert autograd.graph_task_id() == -1
    for _ in range(2):
        y.sum().backward(retain_graph=True)
    assert autograd.current_node() is None
    (node, first), (_, second) = seen
    assert node is not None
    assert 0 <= first < second


def test_nodes_are_numbered_in_the_order_of_the_forward():
    """The next number before an operator is that of its node, also for a custom function."""

    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    x = torch.ones(2, requires_grad=True)
    first = autograd.next_sequence_nr()
    y = x.sin()
    second = autograd.next_sequence_nr()
    z = Custom.apply(y)
    assert autograd.sequence_nr(y.grad_fn) == first
    assert second <= autograd.sequence_nr(z.grad_fn) < autograd.next_sequence_nr()


def test_accumulating_nodes_have_the_largest_number_and_their_leaf():
    """They are created when a leaf is first used, and refer to it."""
    x = torch.ones(2, requires_grad=True)
    node = x.sin().grad_fn.next_functions[0][0]
    assert autograd.sequence_nr(node) == autograd.ACCUMULATE_GRAD_NR
    assert autograd.accumulated_leaf(node) is x


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_is_recognized_while_it_recomputes(reentrant):
    """In the backward of both kinds, and in no other."""
    seen = []

    def square(x):
        if autograd.current_node() is not None:
            seen.append(autograd.is_recomputation(autograd.current_node()))
        return x * x

    x = torch.ones(2, requires_grad=True)
    y = torch.utils.checkpoint.checkpoint(square, x, use_reentrant=reentrant)
    z = y * 2
    z.register_hook(lambda _: seen.append(autograd.is_recomputation(autograd.current_node())))
    z.sum().backward()
    assert seen == [False, True]


def test_checkpointing_passes_the_function_as_first_argument():
    """It is called again in the backward."""
    ((owner, name),) = autograd.checkpoint_callables()
    original, seen = getattr(owner, name), []
    setattr(owner, name, lambda function, *args, **kwargs: seen.append(function) or original(function, *args, **kwargs))
    try:
        torch.utils.checkpoint.checkpoint(torch.sin, torch.ones(2, requires_grad=True), use_reentrant=False)
    finally:
        setattr(owner, name, original)
    assert seen == [torch.sin]


def test_a_reentrant_backward_is_known_by_its_python_frames():
    """Inside a hook of a backward that this thread started; outside there is none."""
    seen = []
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.register_hook(lambda _: seen.append(autograd.in_reentrant_backward()))
    y.sum().backward()
    assert seen == [True]
    assert not autograd.in_reentrant_backward()


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
def test_whether_a_backward_records_its_graph_is_known(create_graph, elsewhere):
    """From the call of the engine, of either entry; or that of another thread, as for the engine's own threads."""
    seen = []

    def see(_):
        if elsewhere:
            thread = threading.Thread(target=lambda: seen.append(autograd.records_graph()))
            thread.start()
            thread.join()
        else:
            seen.append(autograd.records_graph())

    for entry in (torch.autograd.grad, torch.autograd.backward):
        x = torch.ones(2, requires_grad=True)
        y = x * x
        y.register_hook(see)
        entry(y.sum(), inputs=x, create_graph=create_graph, retain_graph=not create_graph)
    assert seen == [create_graph] * 2


def test_a_step_runs_in_a_recording():
    """Hooks run inside too, and the recording ends if the step raises; so it is for a step that a scheduler bound."""
    seen = []

    class Mine(torch.optim.SGD):
        def step(self, closure=None):
            seen.append("step")
            return closure()

    optimizer = Mine([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: seen.append("pre-hook"))
    optimizer.register_step_post_hook(lambda *_: seen.append("post-hook"))
    torch.optim.lr_scheduler.StepLR(optimizer, 1)

    class Recorder(optimizers.STEP_RECORDER):
        def __enter__(self):
            seen.append(("enter", optimizers.is_optimizer_step(self)))
            return super().__enter__()

        def __exit__(self, *exception):
            seen.append("exit")
            return super().__exit__(*exception)

    def fail():
        raise ValueError("stop")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd.profiler, "record_function", Recorder)
        optimizer.step(lambda: 3)
        with pytest.raises(ValueError, match="stop"):
            optimizer.step(fail)
        optimizer.zero_grad()
    begun = [("enter", True), "pre-hook", "step"]
    assert seen == [*begun, "post-hook", "exit", *begun, "exit", ("enter", False), "exit"]


def test_a_hook_before_steps_is_removed_however_often_it_was_registered():
    """Hooks of others stay."""
    seen = []
    other = optimizers.register_step_pre_hook(lambda *_: seen.append("other"))

    def ours(*_):
        seen.append("ours")

    for _ in range(2):
        optimizers.register_step_pre_hook(ours)
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    optimizer.step()
    assert sorted(seen) == ["other", "ours", "ours"]
    for _ in range(2):
        optimizers.remove_step_pre_hook(ours)
    optimizer.step()
    assert seen[3:] == ["other"]
    other.remove()


def test_the_compiler_s_stance_can_be_kept_and_restored():
    """Without the object that set it."""
    import torch._dynamo  # noqa: PLC0415 - takes seconds

    before = compiler.present_stance()
    torch.compiler.set_stance("force_eager")
    assert compiler.present_stance().stance == "force_eager"
    compiler.restore_stance(before)
    assert compiler.present_stance() is before
    assert torch._dynamo.eval_frame._stance is before


def test_a_hook_before_steps_may_change_arguments():
    """It is called for all optimizers, and its result takes their place, until it is removed."""
    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    hook = optimizers.register_step_pre_hook(lambda _, args, kwargs: ((args[0], lambda: 1.0 + len(args)), kwargs))
    assert optimizer.step(lambda: 7.0) == 3.0
    hook.remove()
    assert optimizer.step(lambda: 7.0) == 7.0


def test_scaling_clipping_and_averaging_are_functions_of_optimizers():
    """Those of subclasses too."""

    class Scaler(torch.amp.GradScaler):
        def update(self, new_scale=None):
            super().update(new_scale)

    from torch.optim import swa_utils  # noqa: PLC0415 - listed once it is imported

    class Average(swa_utils.AveragedModel):
        def update_parameters(self, model):
            super().update_parameters(model)

    listed = [(owner.__name__, name) for owner, name in optimizers.optimizer_callables()]
    for expected in (
        ("GradScaler", "update"),
        ("GradScaler", "step"),
        ("GradScaler", "unscale_"),
        ("Scaler", "update"),
        ("torch.nn.utils.clip_grad", "_get_total_norm"),
        ("torch.nn.utils.clip_grad", "_clip_grads_with_norm_"),
        ("AveragedModel", "update_parameters"),
        ("Average", "update_parameters"),
    ):
        assert expected in listed
    assert ("Scaler", "unscale_") not in listed
    assert all(callable(getattr(owner, name)) for owner, name in optimizers.optimizer_callables())


@pytest.mark.parametrize(
    ("overload", "known"),
    [(aten.add.Tensor, True), (aten.add.int, False), (aten.mm.out, True), (aten.mul.left_t, False)],
)
def test_torchscript_builtins_are_not_operators(overload, known):
    """They share packets with operators, and never reach a mode."""
    assert dispatch.known_to_dispatcher(overload) is known


@pytest.mark.parametrize(
    ("overload", "composite"), [(aten.linear.default, True), (aten.mm.default, False), (aten.matmul.default, True)]
)
def test_composite_operators_decompose(overload, composite):
    """A composite operator has a decomposition that runs and gives the same result."""
    assert dispatch.composite_implicit(overload) is composite
    a = torch.rand(3, 3)
    if composite:
        assert torch.equal(overload.decompose(a, a), overload(a, a))


def test_the_dispatcher_lists_packets():
    """Those of aten, and those that a library adds."""
    torch.library.define("opflops_internals::one", "(Tensor x) -> Tensor")
    assert [packet.__name__ for packet in dispatch.dispatcher_packets("opflops_internals")] == ["one"]
    assert len(dispatch.dispatcher_packets("aten")) > 1000


def test_schemas_tell_what_is_written_shared_and_returned():
    """In place writes its argument, a view shares it, an out= argument is marked."""
    in_place = dispatch.schema_of(aten.add_.Tensor)
    assert in_place.arguments[0].alias_info.is_write
    view = dispatch.schema_of(aten.t.default)
    assert view.returns[0].alias_info is not None
    assert not view.returns[0].alias_info.is_write
    assert [argument.is_out for argument in dispatch.schema_of(aten.mm.out).arguments] == [False, False, True]
    assert dispatch.schema_of(aten.mm.default).returns[0].alias_info is None


def test_packets_of_operators():
    """A higher-order operator has no packet."""
    assert dispatch.packet_of(aten.mm.default) is aten.mm
    assert dispatch.packet_of(torch.ops.higher_order.cond) is None


def test_third_party_formulas_are_torchs_registry():
    """Keyed by packet, called with out_val."""
    price = dispatch.third_party_formulas()[aten.mm]
    assert price(torch.ones(2, 3), torch.ones(3, 4), out_val=torch.ones(2, 4)) == 48


def test_sparse_parts_are_those_that_are_stored():
    """Also of a tensor that is not coalesced."""
    tensor = torch.sparse_coo_tensor(torch.tensor([[0, 0, 2]]), torch.ones(3), (4,), check_invariants=True)
    indices, values = tensor_layouts.sparse_coo_parts(tensor)
    assert (tuple(indices.shape), tuple(values.shape)) == ((1, 3), (3,))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_lengths_are_true_lengths():
    """The ragged axis of the strided nested layout."""
    nested = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(5, 4)])
    assert tensor_layouts.nested_lengths(nested) == [2, 5]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_components_are_batches_of_one():
    """Of the strided layout, which has neither a shape nor strides; a jagged tensor has both."""
    parts = [torch.ones(2, 4), torch.ones(5, 4)]
    nested, jagged = torch.nested.nested_tensor(parts), torch.nested.nested_tensor(parts, layout=torch.jagged)
    assert [tuple(each.shape) for each in tensor_layouts.nested_components(nested)] == [(1, 2, 4), (1, 5, 4)]
    assert tensor_layouts.is_strided_nested(nested)
    assert not any(map(tensor_layouts.is_strided_nested, (jagged, parts[0], None)))
    with pytest.raises(RuntimeError, match="sizes"):
        _ = nested.shape


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_some_composite_operators_have_kernels_for_nested_tensors():
    """Of the tensors' device, or such as decompose otherwise; the rest decompose as on other tensors."""
    nested = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(5, 4)])
    assert dispatch.has_nested_kernel(aten.matmul.default)
    assert not any(map(dispatch.has_nested_kernel, (aten.reshape.default, aten.dropout.default)))
    with torch.inference_mode():
        assert dispatch.run_composite_on_nested(aten.reshape.default, (nested, [2, -1, 2, 2]), {}).dim() == 4
        assert dispatch.run_composite_on_nested(aten.dropout.default, (nested, 0.5, False), {}).is_nested


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_fake_tensors_cannot_stand_for_nested_ones(layout):
    """Making one fails with an error that is told from others."""
    with FakeTensorMode(), pytest.raises((AssertionError, RuntimeError)) as refusal:
        torch.nested.as_nested_tensor([torch.ones(2, 4)], layout=layout)
    assert fake_tensors.refuses_nested_tensors(refusal.value)
    with pytest.raises(RuntimeError) as other:
        torch.ones(2) @ torch.ones(3)
    assert not fake_tensors.refuses_nested_tensors(other.value)


def test_a_subclass_made_under_a_mode_is_refused():
    """PyTorch's constructor is inherited, and says why it refuses; without modes it makes the object."""

    class Plain(torch.Tensor):
        pass

    assert "__new__" not in vars(torch.Tensor)
    with Quiet(), pytest.raises(RuntimeError, match=tensor_construction._REFUSAL):
        Plain(2)
    with Quiet():
        assert type(tensor_construction._new(Plain, 2)) is Plain


def test_tensor_subclasses_that_run_other_operators():
    """Jagged and distributed tensors and a program's own subclasses do; fake and functional tensors do not."""
    from torch.distributed.tensor import DTensor  # noqa: PLC0415 - takes a second to import

    assert tensor_layouts.run_other_operators((NestedTensor,))
    assert tensor_layouts.run_other_operators((TwoTensor, FakeTensor))
    assert not tensor_layouts.run_other_operators((FakeTensor,))
    assert not tensor_layouts.run_other_operators((FunctionalTensor, FakeTensor))
    assert tensor_layouts.run_other_operators((DTensor,))
    assert not tensor_layouts.run_other_operators(())

    class Plain(torch.Tensor):
        pass

    assert not tensor_layouts.run_other_operators((torch.Tensor, Plain))


def test_only_real_tensors_have_values():
    """Meta and fake tensors have shapes only."""
    assert fake_tensors.has_values(torch.ones(2))
    assert fake_tensors.has_values(nn.Parameter(torch.ones(2)))
    assert not fake_tensors.has_values(torch.ones(2, device="meta"))
    with fake_tensors.fake_copies(torch.ones(2)) as fake:
        assert not fake_tensors.has_values(fake)


def test_a_fake_recurrent_kernel_of_cudnn_has_a_gradient():
    """It returns its packed weights, which the backward reads; gradients have the shapes of the inputs.

    PyTorch's own rule for fake tensors gives None back where none came in, and for the backward there is none.
    """
    x, h, weights = torch.ones(5, 3, 4), torch.zeros(1, 3, 8), [torch.ones(32, 4), torch.ones(32, 8)]
    with fake_tensors.fake_copies((x, h, weights)) as (x, h, weights):
        lstm = (2, 8, 0, 1, False, 0.0, True, False, [], None)
        out, hy, cy, reserve, buffer = torch.ops.aten._cudnn_rnn(x, weights, 2, None, h, h, *lstm)
        assert (buffer.shape, buffer.dtype) == ((32 * 4 + 32 * 8,), torch.float32)
        given = (x, weights, 2, buffer, h, h, out, out, hy, cy, *lstm, reserve)
        *gradients, of_weights = torch.ops.aten._cudnn_rnn_backward(*given, [True, True, True, True])
        assert [each.shape for each in (*gradients, *of_weights)] == [each.shape for each in (x, h, h, *weights)]
        first, *_, none = torch.ops.aten._cudnn_rnn_backward(*given, [False, True, True, False])
        assert (first, none) == (None, [])


def test_fake_copies_have_shape_dtype_device_and_identity():
    """An object that occurs twice is copied once; gradients flow to leaves of the copy, not to the original."""
    model = nn.Linear(3, 2)
    with fake_tensors.fake_copies((model, model.weight, [X, X])) as (copy, weight, (first, second)):
        assert copy.weight is weight
        assert first is second
        assert (weight.shape, weight.dtype, weight.device) == (model.weight.shape, torch.float32, torch.device("cpu"))
        assert weight.is_leaf
        assert weight.requires_grad
        copy(torch.ones(4, 3)).sum().backward()
        assert weight.grad.shape == (2, 3)
    assert model.weight.grad is None


class Marked(nn.Parameter):
    """A parameter class that has a method, and makes tensors as nn.Parameter does."""

    def __new__(cls, data, mark):
        made = torch.Tensor._make_subclass(cls, data, True)
        made.mark = mark
        return made

    def is_marked(self):
        return self.mark


class Kept(torch.Tensor):
    """A tensor class whose results are of the class too."""


def test_fake_tensors_are_made_converted_copied_and_swapped_by_the_operators_of_real_ones():
    """PyTorch treats them as tensors of a custom type otherwise."""

    def use(model, x):
        first = model.weight
        model.to(torch.float64)
        assert model.weight is first
        model.weight.data = model.weight.data.float()
        made = nn.Parameter(x)
        assert type(made)(x).requires_grad
        marked = Marked(x, 3)
        assert (marked.is_marked(), isinstance(marked, Marked), type(marked)(x, 4).is_marked()) == (3, True, 4)
        assert isinstance((x.as_subclass(Kept) + 1)[0], Kept)
        torch.utils.swap_tensors(made, nn.Parameter(torch.ones(5)))
        assert made.shape == (5,)
        lazy = nn.UninitializedParameter()
        lazy.materialize((2, 3))
        assert lazy.shape == (2, 3)
        assert isinstance(lazy, nn.Parameter)
        return deepcopy((x, first))

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace == "aten":
                self.names.append(func.__name__)
            return func(*args, **(kwargs or {}))

    real, fake = Seen(), Seen()
    real.names, fake.names = [], []
    model, x = nn.Linear(3, 2), torch.ones(2, 3)
    with fake_tensors.fake_copies((model, x)) as copies, fake:
        copied = use(*copies)
    with real:
        use(model, x)
    assert fake.names == real.names
    assert [each.shape for each in copied] == [(2, 3), (2, 3)]
    assert isinstance(copied[1], nn.Parameter)


def test_fake_data_has_the_known_values_of_its_new_data():
    """``tensor.data = other`` calls no operator."""
    with fake_tensors.fake_copies(torch.tensor([1, 2])) as x:
        x.data = torch.tensor([3, 4])
        assert int(x.sum()) == 7
        x.data = torch.randint(9, (2,))
        assert not fake_tensors.has_values(x)


def test_state_is_copied_with_its_identities():
    """What cannot be copied is shared; a failed attempt leaves no half copies in the memo."""

    class Failing:
        def __init__(self, inner, lock):
            self.inner, self.lock = inner, lock

    lock, inner = threading.Lock(), [1]
    failing = Failing(inner, lock)
    cycle = {"again": failing}
    cycle["self"] = cycle
    outer = state_copies.StateCopier({}, torch.clone).copy(Failing(failing, lock))
    assert outer.inner.inner == [1]
    copied = state_copies.StateCopier({}, torch.clone).copy([failing, inner, cycle, lock])
    assert type(copied[0]) is Failing
    assert copied[0] is not failing
    assert copied[0].inner is copied[1]
    assert copied[1] is not inner
    assert copied[2]["again"] is copied[0]
    assert copied[2]["self"] is copied[2]
    assert copied[0].lock is copied[3] is lock


def test_errors_of_fake_kernels_are_raised_and_not_logged(caplog):
    """The caller reports a wrong shape. The log is enabled again afterwards."""
    with fake_tensors.fake_copies(torch.ones(2, 3)) as x, pytest.raises(RuntimeError):
        torch.mm(x, x)
    assert caplog.records == []
    assert not logging.getLogger("torch._subclasses.fake_tensor").disabled


@pytest.mark.parametrize("ask", [lambda x: x.sum().item(), lambda x: x.nonzero(), lambda x: x[x > 0], bool])
def test_fake_tensors_raise_if_their_values_are_needed(ask):
    """With the errors that count() translates."""
    with fake_tensors.fake_copies(torch.ones(1)) as x, pytest.raises(fake_tensors.value_dependent_errors()):
        ask(x)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_errors_of_operators_without_a_meta_kernel_are_recognized(device):
    """On meta and fake tensors; those of an abstract method and of a wrong shape are others."""
    with torch.library._scoped_library("internals_test", "FRAGMENT") as library:
        library.define("stored(Tensor x) -> Tensor")
        library.impl("stored", torch.clone, "CPU")
        with (
            fake_tensors.fake_copies(torch.ones(1, device=device)) as x,
            pytest.raises(Exception, match="stored") as got,
        ):
            torch.ops.internals_test.stored(x)
        with pytest.raises(NotImplementedError, match="stored") as plain:
            torch.ops.internals_test.stored(torch.ones(1, device="meta"))
    assert fake_tensors.lacks_kernel(got.value)
    assert fake_tensors.lacks_kernel(plain.value)
    assert not fake_tensors.lacks_kernel(NotImplementedError("forward"))
    assert not fake_tensors.lacks_kernel(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize("take", [lambda x: x.numpy(), lambda x: memoryview(x.numpy())])
def test_errors_of_reading_elements_outside_pytorch_are_recognized(take):
    """NumPy, and copies from meta; not other errors of a program."""
    with fake_tensors.fake_copies(torch.ones(1)) as x, pytest.raises(RuntimeError) as fake:
        take(x)
    meta = torch.ones(1, device="meta")
    with pytest.raises(TypeError) as plain:
        take(meta)
    with pytest.raises(NotImplementedError) as copied:
        meta.cpu()
    assert all(fake_tensors.lacks_storage(each.value) for each in (fake, plain, copied))
    assert not fake_tensors.lacks_storage(TypeError("can't convert None to numpy"))
    assert not fake_tensors.lacks_storage(None)


@pytest.fixture
def group():
    """Make a process group of this process alone."""
    from torch import distributed  # noqa: PLC0415 - only here

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield distributed.group.WORLD
    distributed.destroy_process_group()


def test_ranks_of_a_group_by_name_or_itself(group):
    """A group of one process has one rank."""
    assert process_groups.ranks_of(group) == process_groups.ranks_of(group.group_name) == 1
    assert process_groups.ranks_of(group.boxed()) == 1
    assert process_groups.rank_in(group) == process_groups.rank_in(group.group_name) == 0


def test_reductions_of_the_dispatcher_can_be_named(group):
    """Each has the number of its name; a factor belongs to none of the others."""
    seen = []

    class Look(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(process_groups.name_reduction(args[2]))
            return func(*args, **(kwargs or {}))

    x, operations = torch.ones(2, dtype=torch.int32), torch.distributed.ReduceOp
    names = ["sum", "product", "min", "max", "band", "bor", "bxor"]
    with Look():
        for name in names:
            torch.distributed.all_reduce(x, getattr(operations, name.upper()))
    assert seen == names
    numbers = {each.value: name.lower() for name, each in operations.RedOpType.__members__.items()}
    assert process_groups._REDUCTIONS.items() <= numbers.items()
    assert process_groups.name_reduction(None) == ""


def test_meshes_describe_their_groups_and_are_found_by_their_class(group):
    """A mesh of all ranks uses their group, which has no description; it holds a reference to its class."""
    assert group.group_desc in process_groups._NO_NAMES
    assert torch.distributed.new_group([0]).group_desc in process_groups._NO_NAMES
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,), mesh_dim_names=("tp",))
    assert mesh in gc.get_referrers(type(mesh))
    assert mesh.get_group() is group
    assert process_groups.name_group(group) == "tp (1)"


def test_the_store_of_a_group_is_that_of_its_ranks():
    """What one rank writes is in the store that made the group, below the group's own prefix; a smaller one has one."""
    from torch import distributed  # noqa: PLC0415 - only here

    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        for number, group in enumerate((None, distributed.new_group([0]))):
            members = rank_exchange.members_of(group, "this")
            members.store.set(f"key{number}", "value")
            assert (members.ranks, members.rank) == ((0,), 0)
        found = [key for key in store.list_keys() if "key" in key]
        assert len({key.partition("key")[0] for key in found}) == 2
        assert [store.get(key) for key in found] == [b"value", b"value"]
    finally:
        distributed.destroy_process_group()


def fsdp(module):
    return torch.distributed.fsdp.FullyShardedDataParallel(module, device_id=torch.device("cpu"), use_orig_params=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("OptimizedModule", lambda module: torch.compile(module, backend="eager")),
        ("DataParallel", nn.DataParallel),
        ("DistributedDataParallel", nn.parallel.DistributedDataParallel),
        ("FullyShardedDataParallel", fsdp),
        ("ActivationWrapper", checkpoint_wrapper),
        ("ActivationWrapper", offload_wrapper),
    ],
)
def test_wrappers_hold_a_module_by_one_name(group, name, wrap):
    """The class has the name in the table, and registers the module by the attribute in the table."""
    [(full_name, attribute)] = [each for each in modules.WRAPPED_ATTRIBUTES.items() if each[0].endswith(f".{name}")]
    module = nn.Linear(2, 2)
    wrapper = wrap(module)
    assert full_name in {f"{each.__module__}.{each.__qualname__}" for each in type(wrapper).__mro__}
    assert list(wrapper._modules) == [attribute] == [modules.wrapped_attribute(wrapper)]
    assert wrapper._modules[attribute] is module
    assert modules.wraps(wrapper, module)
    assert not modules.wraps(module, module)
    assert modules.unwrap(checkpoint_wrapper(wrapper)) is modules.unwrap(module) is module
    assert modules.class_name(wrapper) == "Linear"


def test_every_wrapper_of_pytorch_is_tested():
    """Those of other packages are tested where these are installed."""
    [mark] = [each for each in test_wrappers_hold_a_module_by_one_name.pytestmark if each.name == "parametrize"]
    tested = {name for name, _ in mark.args[1]}
    assert tested == {name.rpartition(".")[2] for name in modules.WRAPPED_ATTRIBUTES if name.startswith("torch.")}


@pytest.mark.filterwarnings("ignore")
def test_fsdp_keeps_one_flat_parameter_for_those_of_its_module(group):
    """With the original parameters registered too, it accumulates gradients in the flat one only."""
    wrapper = fsdp(nn.Linear(2, 2))
    [(_, flat)] = modules.own_parameters(wrapper)
    assert flat.numel() == 2 * 2 + 2
    assert all(flat is not each for each in wrapper.parameters())
    assert len(modules.own_parameters(nn.Linear(2, 2))) == 2


def test_a_plain_attribute_hides_a_buffer_of_its_name():
    """Until it is set: then the buffer is set too, so that both must be put aside."""
    module = nn.BatchNorm1d(2)
    attributes, buffers = modules.attribute_spaces(module)
    kept = buffers["running_mean"]
    attributes["running_mean"] = 3
    assert module.running_mean == 3
    module.running_mean = torch.ones(2)
    assert buffers["running_mean"] is not kept


@pytest.mark.parametrize("name", ["fully_shard", "replicate", "replicate with fsdp"])
def test_sharding_makes_a_class_of_its_own_and_the_modules_class(group, name):
    """Its first base is one of those that are known, the second the original class."""
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    module = nn.Linear(2, 2)
    if name == "fully_shard":
        torch.distributed.fsdp.fully_shard(module, mesh=mesh)
    elif name == "replicate":
        torch.distributed._composable.replicate(module, device_mesh=mesh)
    else:
        pytest.importorskip("torch.distributed._composable.replicate_with_fsdp").replicate(module, mesh=mesh)
    first, second = type(module).__bases__
    assert first.__name__ in modules.CLASS_EXTENSIONS
    assert second is nn.Linear
    assert type(module).__name__ != "Linear" == modules.class_name(module)
    assert modules.ClassNames()[type(module)] == "Linear"


def test_results_of_distributed_tensors_are_planned_by_known_methods():
    """None of them was renamed, and the dispatcher asks a distributed tensor to run what a mode does not."""
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor  # noqa: PLC0415 - takes a second to import
    from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: PLC0415 - only here

    found = distributed_tensors.loaded_sharding_propagations()
    assert [(owner.__name__, name) for owner, name in found] == [*distributed_tensors._PROPAGATIONS]
    assert distributed_tensors.sharding_propagations(sys.modules[distributed_tensors.PROPAGATION_MODULE]) == found
    assert not distributed_tensors.sharding_propagations(torch.distributed.tensor)
    seen = []

    class Leaves(dispatch.DispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append((func, distributed_tensors.are_distributed(types), args[0].shape))
            return NotImplemented if DTensor in types else func(*args, **(kwargs or {}))

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (2,))
        x = distribute_tensor(torch.ones(6, 4), mesh, [Shard(0)])
        assert distributed_tensors.distributed_types(([x], 1), {"y": torch.ones(2)}) == (DTensor,)
        torch.neg(x)
        with Leaves():
            torch.neg(x)
    finally:
        torch.distributed.destroy_process_group()
    assert seen == [(aten.neg.default, True, (6, 4)), (aten.neg.default, False, (3, 4))]


def test_logarithms_of_sizes_are_those_of_numbers():
    """The logarithm of an integer is a number."""
    assert size_arithmetic.log2(8) == 3


def test_newer_operators_exist_in_the_newest_pytorch():
    """The name of an operator that no version has would be misspelt."""
    assert NEWER
    for name in NEWER:
        assert hasattr(aten, name), name


def test_one_function_prepares_the_compiler_for_subgraphs():
    """In every module that imports it. It yields the backend, which returns the graph's own forward."""
    from torch._dynamo.backends.debugging import eager  # noqa: PLC0415 - loads the compiler
    from torch.nn.attention import flex_attention  # noqa: PLC0415 - only here

    listed = higher_order.subgraph_compilations()
    assert (flex_attention, "setup_compilation_env") in listed
    for module, name in listed:
        with getattr(module, name)() as backend:
            assert backend is eager
    graph = torch.fx.symbolic_trace(nn.Tanh())
    assert eager(graph, [X]) == graph.forward


def test_functions_that_trace_subgraphs_to_differentiate_them_are_found():
    """In the modules of the operators that trace a graph and its gradient."""
    names = {name for _, name in higher_order.subgraph_preparations()}
    assert names == {"create_fw_bw_graph", "trace_joint_graph_as_bwd", "_get_output_metadata_by_execution"}
    for module, name in higher_order.subgraph_preparations():
        assert callable(getattr(module, name))


def test_modes_are_swapped_and_restored():
    """Also after an exception."""
    with Quiet() as outer, Quiet() as inner:

        def fails():
            with dispatch.modes_swapped([outer, inner], [inner]):
                assert dispatch.dispatch_modes() == [inner]
                raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            fails()
        assert dispatch.dispatch_modes() == [outer, inner]


def test_the_compiler_works_under_our_dispatch_mode():
    """As if there were none. The compiled code runs under the mode."""

    class Mode(dispatch.DispatchMode):
        seen = ()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen += (func,)
            return func(*args, **(kwargs or {}))

    graphs = []

    def backend(graph, examples):
        graphs.append(graph)
        return graph.forward

    x = X.detach()
    with Mode() as mode:
        out = torch.compile(lambda x: x.sin(), backend=backend, fullgraph=True)(x)
    assert torch.equal(out, x.sin())
    assert len(graphs) == 1
    assert mode.seen == (aten.sin.default,)


def test_the_compiler_leaves_alone_what_our_dispatch_mode_does():
    """Where it compiles a function that runs an operator, and gave up on that before."""
    import torch._dynamo  # noqa: PLC0415 - loads the compiler

    class Mode(dispatch.DispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    def gives_up(x):
        return x.sin()

    compiler.run_modes_uncompiled()
    assert Mode.__torch_dispatch__.__code__ in compiler._skipped
    # As the compiler does with a function that it met under a mode of another library.
    torch._dynamo.eval_frame.set_code_exec_strategy(
        gives_up.__code__,
        torch._dynamo.types.FrameExecStrategy(
            torch._dynamo.types.FrameAction.SKIP, torch._dynamo.types.FrameAction.DEFAULT
        ),
    )
    x = X.detach()
    with Mode():
        assert torch.equal(torch.compile(gives_up, backend=backend)(x), x.sin())
    assert graphs == []


def test_a_higher_order_operator_without_its_checks_takes_any_callable():
    """Its own call rejects a Python function; its kernel calls it."""
    op = torch.ops.higher_order.invoke_quant
    with pytest.raises(RuntimeError, match="GraphModule"):
        op(torch.sin, X.detach())
    # As a mode sees it: below autograd.
    with torch._C._AutoDispatchBelowAutograd():
        assert torch.equal(higher_order.call_higher_order(op, (torch.sin, X.detach()), {}), X.sin())
    assert torch.equal(higher_order.hop_default_kernel(op)(torch.sin, X.detach()), X.sin())
    assert higher_order.hop_default_kernel(torch.ops.higher_order.wrap) is None


def test_tracing_and_fake_tensors_are_recognized():
    """Only tracing is both; meta tensors are neither."""
    from torch.fx.experimental.proxy_tensor import make_fx  # noqa: PLC0415 - only here

    seen = []

    def program(x):
        seen.append((fake_tensors.is_fake_or_tracing(()), tracing.is_being_traced()))
        return x + 1

    program(X.to("meta"))
    make_fx(program)(X)
    with fake_tensors.fake_copies(X) as x:
        program(x)
        outside = x
    assert seen == [(False, False), (True, True), (True, False)]
    assert fake_tensors.is_fake_or_tracing([{"x": outside}])
    assert not fake_tensors.is_fake_or_tracing([X, X.to("meta"), 1])


def test_the_compiler_asks_the_backend_only_where_a_function_is_compiled_inside_a_transform():
    """It refuses other backends than the eager one there, unless that question is patched."""
    from torch._dynamo.symbolic_convert import InstructionTranslator  # noqa: PLC0415 - loads the compiler

    def compiled(x):
        return torch.compile(torch.sin, backend=lambda graph, _: graph.forward, fullgraph=True)(x)

    x, original = torch.ones(2), InstructionTranslator._throw_if_in_functorch
    with pytest.raises(RuntimeError, match="functorch"):
        torch.vmap(compiled)(x)
    with compiler.compiling_inside_transforms():
        assert torch.equal(torch.vmap(compiled)(x), x.sin())
    assert InstructionTranslator._throw_if_in_functorch is original


def test_compiled_nodes_know_the_modules_that_they_came_from():
    """Outermost first, also of a repeated call; other nodes have none."""
    net, found = nn.Sequential(nn.Tanh()), []

    def backend(graph, examples):
        found.extend(compiler.nn_module_stack_ids(node) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    torch.compile(lambda x: net(net(x)), backend=backend, fullgraph=True)(X.detach())
    assert found == [[id(net), id(net[0])]] * 2
    assert compiler.nn_module_stack_ids(torch.fx.symbolic_trace(net).graph.find_nodes(op="output")[0]) == []


def test_traced_gradients_tag_the_recomputed_forward():
    """Nodes of other graphs have no tags."""
    from torch._higher_order_ops.utils import create_bw_fn, materialize_as_graph  # noqa: PLC0415 - only here

    traced = materialize_as_graph(create_bw_fn(lambda x: (x.tanh(),), (X,)), (X, X), force_enable_grad=True)
    tagged = {node.name: compiler.is_tagged_forward(node) for node in traced.graph.nodes}
    assert tagged["tanh"] is True
    assert tagged["tanh_backward"] is False
    plain = torch.fx.symbolic_trace(nn.Tanh())
    assert {compiler.is_tagged_forward(node) for node in plain.graph.nodes} == {None}


def test_counts_compare_by_the_sizes_that_were_traced():
    """Without adding a guard; a count without a hint is not larger."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv  # noqa: PLC0415 - only here

    env = ShapeEnv()
    with FakeTensorMode(shape_env=env) as fakes:
        size = fakes.from_tensor(torch.ones(8), static_shapes=False).shape[0]
    assert size_arithmetic.is_larger_by_hint(2 * size, 15)
    assert not size_arithmetic.is_larger_by_hint(2 * size, 16)
    assert not size_arithmetic.is_larger_by_hint(15, 2 * size)
    assert not size_arithmetic.is_larger_by_hint(env.create_unbacked_symint(), 0)
    assert env.guards == []


def test_scalar_tensors_index_as_operators_do():
    """Also fake tensors, which have no value."""
    with (
        fake_tensors.fake_copies((torch.ones(3, 4), torch.tensor(2))) as (table, index),
        higher_order.indexing_by_tensors(),
    ):
        assert table[index].shape == (4,)


def test_triton_kernels_are_looked_up_by_index():
    """The name is that of the innermost function."""
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table  # noqa: PLC0415 - only here

    class Wrapper:
        def __init__(self, fn):
            self.fn = fn

    def some_kernel():
        pass

    kernel = kernel_side_table.add_kernel(Wrapper(Wrapper(some_kernel)))
    constants = kernel_side_table.add_constant_args({"BLOCK": 4})
    assert higher_order.triton_call(kernel, constants) == ("some_kernel", {"BLOCK": 4})


def test_calling_a_module_is_one_of_two_inner_calls():
    """Its code uses no other names, and its results are theirs."""
    assert nn.Module.__call__ is module_call.MODULE_CALL
    assert set(module_call.UNPATCHED_CALL.__code__.co_names) == {"_compiled_call_impl", "_call_impl"}
    for call in (module_call.MODULE_CALL, module_call.UNPATCHED_CALL):
        module = nn.ReLU()
        assert module._compiled_call_impl is None
        assert call(module, -torch.ones(1)).item() == module._call_impl(-torch.ones(1)).item() == 0
        module._compiled_call_impl = lambda x: "compiled"
        assert call(module, torch.ones(1)) == "compiled"


def test_the_code_of_module_calls_can_be_replaced():
    """By what passes the arguments on; a call in progress goes on with the code that it began with."""
    seen = []

    class Restores(nn.Module):
        def forward(self, x, *, more):
            module_call.MODULE_CALL.__code__ = code
            return x + more

    def replacement(module, args, kwargs):
        seen.append((module, args, kwargs))
        return module_call.UNPATCHED_CALL(module, *args, **kwargs)

    code, module = module_call.MODULE_CALL.__code__, Restores()
    try:
        module_call.MODULE_CALL.__code__ = module_call.replaced_code(replacement)
        assert module(1, more=2) == 3
    finally:
        module_call.MODULE_CALL.__code__ = code
    assert seen == [(module, (1,), {"more": 2})]
    assert code is module_call.MODULE_CALL_CODE
    assert module(1, more=3) == 4
    assert len(seen) == 1


def test_fx_calls_modules_by_the_function_that_it_keeps():
    """Its tracers patch ``nn.Module.__call__``, and call that function inside."""
    owner, name = module_call.FX_MODULE_CALL
    assert vars(owner)[name] is module_call.MODULE_CALL
    called = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, lambda module, *args: called.append(module) or args[0])
        torch.fx.symbolic_trace(outer := nn.Sequential(inner := nn.Sequential(nn.ReLU())))
    assert called == [inner]
    assert outer is not inner


def test_calling_an_operator_is_calling_its_inner_function():
    """The outer call does nothing else; an operator that is called otherwise is returned itself."""
    asked = {"torch", "_C", "_pyobj_dispatcher", "_peek_should_skip_torch_function", "_cpp_dispatch_handle"}
    assert set(dispatch.OpOverload.__call__.__code__.co_names) - asked == {"_op"}
    add = torch.ops.aten.add.Tensor
    assert dispatch.call_of(add) is add._op
    assert dispatch.call_of(add)(torch.ones(2), torch.ones(2), alpha=2).tolist() == [3, 3]
    if torch.distributed.is_available():
        send = torch.ops.c10d.send.default
        assert dispatch.call_of(send) is send


def test_the_kernel_that_autograd_runs_is_intercepted_and_restored():
    """Composite kernels, and those that a library registers for autograd; neither where autograd is left out."""
    seen = []

    def run(kernel, args, kwargs):
        seen.append(kwargs)
        return kernel(*args, **kwargs)

    tensor = torch.ones(2, 3)
    with torch.library._scoped_library("interceptiontest", "DEF") as library:
        library.define("double(Tensor x, *, int n=2) -> Tensor")
        library.impl("double", lambda x, *, n=2: x * n, "Autograd")
        library.define("on_cpu(Tensor x) -> Tensor")
        library.impl("on_cpu", lambda x: x * 2, "AutogradCPU")
        ours = torch.ops.interceptiontest
        for op, call, kwargs in (
            (torch.ops.aten.linear.default, lambda: torch.nn.functional.linear(tensor, tensor), {}),
            (ours.double.default, lambda: ours.double(tensor, n=3), {"n": 3}),
        ):
            expected = call()
            assert composite_kernels.may_decompose_in_autograd(op)
            assert composite_kernels.hidden_by(op) is None
            stop = composite_kernels.intercept_autograd_kernel(op, run)
            assert torch.equal(call(), expected)
            with torch.no_grad():
                call()
            stop()
            call()
            assert seen == [kwargs, kwargs]
            seen.clear()
        assert composite_kernels.hidden_by(ours.on_cpu.default) == "AutogradCPU"
        assert not composite_kernels.may_decompose_in_autograd(ours.on_cpu.default)
    assert not composite_kernels.may_decompose_in_autograd(torch.ops.aten.mm.default)
    assert composite_kernels.hidden_by(torch.ops.aten.mm.default) is None


PACKAGE = torch._subclasses


def test_libraries_look_up_the_class_of_fake_tensors_in_its_package():
    """While it is hidden, fake tensors of known values are no instances there; PyTorch's own modules see the class."""
    package = PACKAGE
    cls = package.FakeTensor
    with fake_tensors.fake_copies(torch.ones(2, dtype=torch.int64)) as known, fake_tensor_checks.known_fakes_hidden():
        unknown = torch.rand(2)
        assert "FakeTensor" not in vars(package)
        assert package.FakeTensor is not cls
        assert not isinstance(known, package.FakeTensor)
        assert isinstance(unknown, package.FakeTensor)
        assert issubclass(cls, package.FakeTensor)
        code = (lambda: PACKAGE.FakeTensor).__code__
        assert FunctionType(code, {"__name__": "torch.fx", "PACKAGE": package})() is cls
    assert vars(package)["FakeTensor"] is cls


def test_known_values_are_those_of_a_run_and_of_no_more():
    """Fake tensors keep attributes, operators have tags, and values are found where memory is shared."""
    with fake_tensors.fake_copies([torch.arange(6), torch.rand(6), nn.Parameter(torch.ones(6))]) as (known, *unknown):
        assert torch.Tag.nondeterministic_seeded in aten.bernoulli_.float.tags
        assert known_values.known_value(known).tolist() == [0, 1, 2, 3, 4, 5]
        assert known_values.known_value((known.view(2, 3) * 2)[1]).tolist() == [6, 8, 10]
        assert not any(map(known_values.is_known, (*unknown, known + unknown[0], torch.rand(2))))
        assert int(known.sum()) == 15
        made = torch.zeros(4)
        part = made[1:]
        part.fill_(2)
        assert known_values.known_value(made).tolist() == [0, 2, 2, 2]
        made.bernoulli_()
        assert not known_values.is_known(part)
        made.zero_()
        assert known_values.known_value(part).tolist() == [0, 0, 0]
    with fake_tensors.fake_copies(torch.arange(6), exact_values=False) as known:
        assert known_values.is_known(known)
        assert known_values.known_value(known) is None


def test_a_fake_grouped_matmul_has_the_shape_of_a_run():
    """Its fake kernel refuses all dtypes but bfloat16; the CPU runs others."""
    ends = torch.tensor([4, 8], dtype=torch.int32)
    operands = [
        (torch.rand(8, 4), torch.rand(2, 4, 12), ends),
        (torch.rand(4, 8), torch.rand(8, 12), ends),
        (torch.rand(2, 4, 16), torch.rand(16, 8), ends),
        (torch.rand(2, 4, 8), torch.rand(2, 8, 12), None),
    ]
    for given in operands:
        left, right, offsets = given
        out = torch._grouped_mm(left, right, offs=offsets)
        with fake_tensors.fake_copies(given) as (fake_left, fake_right, fake_offsets):
            fake = torch._grouped_mm(fake_left, fake_right, offs=fake_offsets)
        assert (fake.shape, fake.dtype) == (out.shape, out.dtype)


def _storages(results):
    """Describe results of an operator: shape, strides, dtype, and the bytes of the storage, whatever is in it."""
    return [
        (each.shape, each.stride(), each.dtype, each.untyped_storage().nbytes()) if each.numel() else each.shape
        for each in tree_leaves(results)
        if isinstance(each, torch.Tensor)
    ]


def _calls_whose_fake_kernels_are_corrected():
    x, y = torch.rand(6, 7), torch.rand(6, 7)
    for loss in (aten.mse_loss, aten.smooth_l1_loss, aten.soft_margin_loss, aten.binary_cross_entropy):
        yield loss.default, (x, y)
        yield loss.default, (x, y[:1].expand(6, 7)), {"reduction": 2}
    half, ones = torch.rand(4, 8, 6, dtype=torch.bfloat16), torch.ones(8)
    yield aten.native_batch_norm.default, (half, ones, ones, ones.clone(), ones.clone(), True, 0.1, 1e-5)
    yield aten.native_layer_norm.default, (half, [6], torch.ones(6), torch.ones(6), 1e-5)
    yield aten.native_group_norm.default, (half, ones, ones, 4, 8, 6, 2, 1e-5)
    statistics = torch.ones(4, 2), torch.ones(4, 2)
    yield aten.native_group_norm_backward.default, (half, half, *statistics, ones, 4, 8, 6, 2, [True] * 3)
    full, turned = torch.rand(4, 8, 6), torch.rand(4, 6, 8).transpose(1, 2)
    statistics = torch.ones(4, 8, 1), torch.ones(4, 8, 1)
    last = torch.ones(6), torch.ones(6)
    yield aten.native_layer_norm_backward.default, (turned, full, [6], *statistics, *last, [True] * 3)
    given = (turned, full, ones, ones, ones, ones, ones, True, 1e-5, [True] * 3)
    yield aten.native_batch_norm_backward.default, given
    yield aten.native_batch_norm.default, (turned, ones, ones, ones.clone(), ones.clone(), True, 0.1, 1e-5)
    table, indices, offsets = torch.rand(10, 5), torch.tensor([1, 2, 4, 5]), torch.tensor([0, 2])
    for mode in (0, 1, 2):
        yield aten._embedding_bag.default, (table, indices, offsets, False, mode)
    yield aten._embedding_bag.default, (table, indices, offsets, False, 0, False, None, False, 3)
    yield aten._embedding_bag.default, (table, indices, torch.tensor([0, 2, 4]), False, 0, False, None, True)
    yield aten._embedding_bag.default, (table.bfloat16(), indices, offsets, False, 0, False, torch.ones(4).bfloat16())
    for steps, batch, features, hidden in ((5, 3, 10, 20), (1, 1, 1, 1), (7, 64, 256, 64), (3, 20, 100, 256)):
        weights = [torch.rand(4 * hidden, size) for size in (features, hidden)]
        state = torch.zeros(1, batch, hidden)
        given = (torch.rand(steps, batch, features), *weights, *torch.zeros(2, 4 * hidden), state, state)
        yield aten.mkldnn_rnn_layer.default, (*given, False, [], 2, hidden, 1, True, False, False, True)


@pytest.mark.parametrize("call", [*_calls_whose_fake_kernels_are_corrected()], ids=lambda call: str(call[0]))
def test_corrected_fake_kernels_make_what_the_cpu_makes(call):
    """Shapes, strides, dtypes and storage are those of real kernels; where PyTorch changes these, this fails."""
    func, args, kwargs = (*call, {}) if len(call) == 2 else call
    real = func(*args, **kwargs)
    with fake_tensors.fake_copies((args, kwargs)) as (fake_args, fake_kwargs):
        fake = func(*fake_args, **fake_kwargs)
    assert _storages(fake) == _storages(real)


def test_fake_copies_share_the_storage_that_originals_share():
    """PyTorch's converter numbers storages, and keeps the fake one of each number; its size is the original's."""
    flat = torch.zeros(100)
    whole, again, part = nn.Parameter(flat), nn.Parameter(flat.view(10, 10)), nn.Parameter(flat[:20])
    alone = torch.zeros(50)[:5]
    for originals in ([whole, again, part], [part, again, whole]):
        with fake_tensors.fake_copies([*originals, flat[3:7], alone]) as (*copies, alone_copy):
            storages = [each.untyped_storage() for each in copies]
            assert {each._cdata for each in storages} == {storages[0]._cdata}
            assert (storages[0].nbytes(), alone_copy.untyped_storage().nbytes()) == (400, 200)
            assert [each.shape for each in copies[:3]] == [each.shape for each in originals]


def test_sizes_are_read_without_a_guard_and_without_being_seen():
    """A symbolic size has no hash, so the fast path meets an error; its expression tells it apart from others."""
    env = ShapeEnv()
    dynamic = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC, DimDynamic.STATIC])
    x = FakeTensorMode(shape_env=env).from_tensor(torch.ones(5, 4), symbolic_context=dynamic)
    with pytest.raises(TypeError, match="unhashable"):
        hash(x.shape)
    assert tensor_sizes.read_shapes([x]) == (((5, 4), torch.float32),)
    size = x.shape[0]
    same, other = tensor_sizes.SymbolicSize(size + 1), tensor_sizes.SymbolicSize(size)
    assert same == tensor_sizes.SymbolicSize(1 + size)
    assert hash(same) == hash(tensor_sizes.SymbolicSize(1 + size))
    assert same != other
    assert size_arithmetic.is_zero(size * 0)
    assert not size_arithmetic.is_zero(size)
    assert env.guards == []

    class Seen(TorchFunctionMode):
        names: list = []  # noqa: RUF012 - of the test

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.names.append(func)
            return func(*args, **(kwargs or {}))

    plain = torch.ones(3)
    assert not tensor_sizes.torch_function_mode_enabled()
    with Seen():
        assert tensor_sizes.torch_function_mode_enabled()
        assert tensor_sizes.read_shapes([plain]) == (((3,), torch.float32),)
        with tensor_sizes.reading_registered():
            read, is_lazy = tensor_sizes.read_tensors([plain, None])
        assert (read, is_lazy) == ([(12, torch.float32, False), (0, 0, False)], False)
        assert Seen.names == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_parameters_of_all_kinds_are_read():
    """Their bytes and elements: sparse, uninitialized, of a subclass that consists of others, fake."""
    with tensor_sizes.reading_registered():
        read, is_lazy = tensor_sizes.read_tensors(
            [
                nn.Parameter(torch.ones(3, 2, dtype=torch.float16)),
                torch.eye(4).to_sparse(),
                torch.eye(4).to_sparse_csr(),
                torch.eye(4).to_sparse_csc(),
                nn.UninitializedParameter(),
                TwoTensor(torch.ones(2, 3), torch.ones(2, 3)),
            ]
        )
    assert [(nbytes, tensor_sizes.elements_of(nbytes, kind)) for nbytes, kind, _ in read] == [
        (12, 6),
        (4 * 4 + 2 * 4 * 8, 16),
        (4 * 4 + (5 + 4) * 8, 16),
        (4 * 4 + (5 + 4) * 8, 16),
        (0, 0),
        (2 * 24, 6),
    ]
    assert is_lazy
    assert [trainable for *_, trainable in read] == [True, False, False, False, True, False]
    with FakeTensorMode():
        assert tensor_sizes.read_tensors([torch.ones(3)]) == ([(12, torch.float32, False)], False)


def recorded(program, **options):
    """Run a program while the profiler records the CPU; return the events of its operators."""
    recording = torch.profiler.profile(activities=[ProfilerActivity.CPU], **options)
    with recording:
        program()
    return recording.events()


def test_the_profiler_says_when_it_begins_and_ends():
    """Each time, after PyTorch's own function and before it; PyTorch's own functions are back afterwards."""
    own = [getattr(torch.autograd.profiler, name) for name in ("_run_on_profiler_start", "_run_on_profiler_stop")]
    said = []

    def say(what):
        return lambda: said.append((what, profiler.listen(*listeners)))

    listeners = say("begins"), say("ends")
    try:
        assert profiler.listen(*listeners) is False
        recorded(lambda: said.append("records"))
        recorded(lambda: None)
    finally:
        profiler.stop_listening()
    assert said[:3] == [("begins", True), "records", ("ends", True)]
    assert len(said) == 5
    profiler.stop_listening()
    assert own == [torch.autograd.profiler._run_on_profiler_start, torch.autograd.profiler._run_on_profiler_stop]


def test_a_marked_range_is_an_event_around_operators_and_no_operator():
    """No mode sees it; the profiler lists it by its name, as the parent of what ran inside."""
    mode = Quiet()

    def program():
        with mode, profiler.MarkedRange("a range"):
            torch.ones(2)

    events = recorded(program)
    (marked,) = [event for event in events if event.name == "a range"]
    assert marked.cpu_parent is None
    assert [event.cpu_parent.name for event in events if event.name == "aten::ones"][:1] == ["a range"]
    assert len(mode.seen_inside) == len([event for event in events if event.name == "PythonDispatchMode"]) > 0


@pytest.mark.parametrize("all_threads", [False, True])
def test_a_thread_knows_whether_the_profiler_was_told_to_record_it(all_threads):
    """Only the one that began to record; none if it was told to record all, as it does."""
    known = []

    def ask():
        known.append(profiler.records_thread())
        with profiler.MarkedRange("a range"):
            pass

    def program():
        ask()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    events = recorded(program, **(recording_all_threads() if all_threads else {}))
    assert known == ([False, False] if all_threads else [True, False])
    assert len([event for event in events if event.name == "a range"]) == (2 if all_threads else 1)
    assert not profiler.records_thread()


def test_a_call_that_was_compiled_in_place_can_be_replaced_and_put_back():
    """``module.compile()`` keeps it in an attribute, which a call of the module asks for."""
    net = nn.Linear(2, 2)
    assert compiler.compiled_call(net) is None
    net.compile(backend="eager")
    compiled, seen = compiler.compiled_call(net), []
    put_back = compiler.replace_compiled_call(net, lambda *args: seen.append(args) or compiled(*args))
    assert torch.equal(net(X), nn.Linear.forward(net, X))
    assert len(seen) == 1
    put_back()
    assert compiler.compiled_call(net) is compiled


def test_the_compiled_module_is_among_the_callers_where_compiled_code_runs_in_eager_mode():
    """It is found by the module inside, and not by another one."""

    class Net(nn.Module):
        def forward(self, x):
            found.append([compiler.compiled_wrapper(each) for each in (self, other)])
            return x + 1

    net, other, found = Net(), nn.Linear(2, 2), []
    compiled = torch.compile(nn.Sequential(net), backend="eager")
    with torch.compiler.set_stance("force_eager"):
        compiled(X)
        net(X)
    assert found == [[compiled, None], [None, None]]


@pytest.mark.no_outer_mode
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_tracer_makes_nested_blocks_of_scopes_and_forks_which_can_be_replaced():
    """``trace_call`` replaces ``push_scope``, ``fork`` and ``wait`` where PyTorch looks them up."""
    x = torch.ones(2, 2)

    def call(_graph):
        state = torch._C._get_tracing_state()
        state.push_scope("scope")
        inside = x @ x
        state.pop_scope()
        return torch.jit.wait(torch.jit.fork(torch.mm, inside, x))

    def traced(*_):
        graph = torch._C._get_tracing_state().graph()
        call(graph)
        kinds.extend((node.kind(), len(list(node.blocks()))) for node in graph.nodes())
        return ()

    kinds = []
    names = sys.modules["torch.jit._trace"]._create_interpreter_name_lookup_fn()
    torch._C._create_graph_by_tracing(traced, [x], names, True, False)
    assert [kind for kind, blocks in kinds if blocks] == ["prim::TracedModuleForward", "prim::TracedFork"]
    result, trace = jit_graphs.trace_call(call, [x])
    assert torch.equal(result, torch.full((2, 2), 4.0))
    assert [each.kind for each in trace.operators] == ["aten::matmul", "aten::mm"]


def test_a_global_hook_with_keyword_arguments_leaves_nothing_behind():
    """PyTorch itself keeps one of its entries; the compiler warns of global hooks where there are any."""
    seen = []
    with modules.global_forward_hook(lambda *given: seen.append(len(given))):
        nn.Identity()(1)
    assert seen == [4]
    assert not torch.nn.modules.module._has_any_global_hook()
