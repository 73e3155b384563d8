"""The mode: what it counts, when it is entered, how it fails, and that a program does not notice it."""

import subprocess
import sys
import time
import warnings

import pytest
import torch
from torch import nn

from opflops import (
    ActiveModeError,
    Cost,
    FormulaError,
    OpFlopMode,
    OpflopsError,
    Profile,
    UnpricedOpError,
    UnpricedOpWarning,
    formula,
)

X = torch.ones(2, 4)


@torch.library.custom_op("opflops_test::unknown", mutates_args=())
def unknown(x: torch.Tensor) -> torch.Tensor:
    return x * x + 1


@unknown.register_fake
def _(x):
    return torch.empty_like(x)


def model():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def arithmetic(mode):
    return Cost(mode.total.macs, mode.total.ops, mode.total.transcendentals)


def test_a_forward_and_its_backward_are_told_apart_by_phase():
    """Linear(4, 8), ReLU and Linear(8, 2) on two rows: 96 macs, and 160 backward (no gradient for the input)."""
    net = model()
    with OpFlopMode() as m:
        net(X).sum().backward()
    phases = m.profile.by("phase")
    assert phases["forward"].macs == 2 * (4 * 8 + 8 * 2)
    assert phases["backward"].macs == 2 * (4 * 8) + 2 * 2 * (8 * 2)


def test_every_option_is_keyword_only():
    """A flag that is passed by position would be read as another."""
    with pytest.raises(TypeError):
        OpFlopMode(True)


@pytest.mark.parametrize("wrong", ["half", None, True])
def test_an_unknown_way_to_count_is_refused(wrong):
    """The message says what there is."""
    with pytest.raises(ValueError, match="'dense' or 'exact'"):
        OpFlopMode(causal=wrong)


def test_two_blocks_on_one_object_do_not_add_up():
    """Entering starts afresh."""
    net, m = model(), OpFlopMode()
    with m:
        net(X)
    first = m.profile
    with m:
        net(X)
    assert m.profile == first
    with m:
        pass
    assert m.profile == Profile()


def test_n_runs_cost_n_times_one_run():
    """Counts neither saturate nor warm up."""
    net = model()
    with OpFlopMode() as once:
        net(X).sum().backward()
    net.zero_grad()
    with OpFlopMode() as often:
        for _ in range(5):
            net(X).sum().backward()
    assert arithmetic(often) != Cost()
    # From the second run on, gradients are accumulated: 58 parameters, four times.
    assert arithmetic(often) == 5 * arithmetic(once) + Cost(ops=4 * (4 * 8 + 8 + 8 * 2 + 2))


def test_entering_an_active_mode_is_an_error_and_harmless():
    """The sentence says what to do, and counting goes on."""
    net = model()
    with OpFlopMode() as m:
        with pytest.raises(ActiveModeError, match="second OpFlopMode"), m:
            pass
        net(X)
    assert m.total.macs == 96
    with m:
        net(X)
    assert m.total.macs == 96


def test_nested_modes_each_see_everything():
    """The inner block's work is the outer's too."""
    net = model()
    with OpFlopMode() as outer:
        net(X)
        with OpFlopMode() as inner:
            net(X)
    assert (outer.total.macs, inner.total.macs) == (192, 96)


def test_the_profile_is_a_snapshot_also_while_counting():
    """A profile that was taken does not grow."""
    net = model()
    with OpFlopMode() as m:
        net(X)
        early = m.profile
        net(X)
    assert (early.total.macs, m.total.macs) == (96, 192)


def test_an_exception_ends_the_block_with_what_was_counted():
    """The work before it is there, the mode is not active any more, and can be entered again."""
    net, m = model(), OpFlopMode()
    with pytest.raises(RuntimeError, match="shapes"), m:
        net(net(X))
    assert m.total.macs == 96
    net(X)
    assert m.total.macs == 96
    with m:
        net(X)
    assert m.total.macs == 96


def test_an_operator_that_fails_leaves_no_row():
    """What did not run was not work."""
    with OpFlopMode() as m, pytest.raises(RuntimeError):
        torch.mm(X, X)
    assert m.profile.rows == ()


def test_an_unpriced_operator_is_listed_and_warned_about_once():
    """The warning names operator, module and how to register; the bytes are counted, the arithmetic is not."""

    class Net(nn.Module):
        def forward(self, x):
            return unknown(unknown(x))

    with pytest.warns(UnpricedOpWarning) as caught, OpFlopMode() as m:
        Net()(X)
    assert len(caught) == 1
    for part in ("opflops_test.unknown", "in module Net", "@opflops.formula(torch.ops.opflops_test.unknown)"):
        assert part in str(caught[0].message)
    assert m.profile.unpriced == {"opflops_test.unknown": 2}
    assert arithmetic(m) == Cost()
    assert m.total.bytes == 2 * 2 * 32


def test_a_new_block_warns_again():
    """Each count says for itself what it lacks."""
    m = OpFlopMode()
    for _ in range(2):
        with pytest.warns(UnpricedOpWarning, match="outside any module"), m:
            unknown(X)


def test_strict_raises_before_the_operator_runs():
    """No result, no row, and the message names operator and module."""
    ran = []

    @torch.library.custom_op("opflops_test::tells", mutates_args=())
    def tells(x: torch.Tensor) -> torch.Tensor:
        ran.append(1)
        return x.clone()

    with OpFlopMode(strict=True) as m, pytest.raises(UnpricedOpError, match=r"opflops_test\.tells outside any module"):
        tells(X)
    assert ran == []
    assert m.profile.rows == ()
    assert issubclass(UnpricedOpError, OpflopsError)


def test_a_formula_registered_meanwhile_is_used():
    """Also inside a block that has seen the operator unpriced."""

    @torch.library.custom_op("opflops_test::late", mutates_args=())
    def late(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    with OpFlopMode() as m:
        with pytest.warns(UnpricedOpWarning):
            late(X)
        formula(torch.ops.opflops_test.late)(lambda x: Cost(ops=x.numel()))
        late(X)
    assert m.total.ops == 8
    assert m.profile.unpriced == {"opflops_test.late": 1}


def test_formulas_of_one_mode_are_its_own():
    """They come before registered ones, in place and out= forms included, and no other mode sees them."""
    net = model()
    with OpFlopMode(formulas={torch.ops.aten.relu: lambda self: Cost(ops=100)}) as own, OpFlopMode() as other:
        net(X)
        torch.relu_(X.clone())
    assert own.profile.by("op")["aten.relu"].ops == 100
    assert own.profile.by("op")["aten.relu_"].ops == 100
    assert other.profile.by("op")["aten.relu"].ops == 16


def test_a_formula_of_one_mode_is_checked_like_any_other():
    """A parameter that is not in the schema is refused when the mode is made."""
    with pytest.raises(FormulaError, match="'wrong'"):
        OpFlopMode(formulas={torch.ops.aten.relu: lambda wrong: Cost()})


@pytest.mark.parametrize("field", ["macs", "ops", "transcendentals"])
def test_a_fraction_is_refused(field):
    """A formula that divides with / gets a message to use //."""
    halves = {torch.ops.aten.relu: lambda self: Cost(**{field: self.numel() / 2})}
    with OpFlopMode(formulas=halves), pytest.raises(FormulaError, match=rf"aten\.relu returned 4\.0 as {field}.*//"):
        torch.relu(X)


def test_inference_mode_decomposes_what_it_does_not_decompose_itself():
    """Operators that reach the mode whole are counted by their parts: the three grad modes agree, row by row."""

    def everything():
        image = torch.ones(2, 4, 8, 8)
        nn.functional.conv2d(image, torch.ones(3, 4, 3, 3))
        nn.functional.linear(X, torch.ones(3, 4))
        nn.functional.scaled_dot_product_attention(image, image, image)
        nn.functional.batch_norm(image, torch.ones(4), torch.ones(4))
        nn.functional.cross_entropy(X, torch.zeros(2, dtype=torch.long))
        torch.einsum("ij,kj->ik", X, X)
        image @ image.mT

    found = []
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context(), OpFlopMode(strict=True) as m:
            everything()
        found.append({(row.op, row.dtype): (row.calls, row.cost) for row in m.profile.rows if row.cost.flops})
    assert found[0] == found[1] == found[2]
    assert {"aten.convolution", "aten.addmm"} & {op for op, _ in found[2]} == {"aten.convolution"}


def test_real_and_meta_tensors_count_alike():
    """A count does not look at values."""
    net = model()
    with OpFlopMode() as real:
        net(X).sum().backward()
    net.zero_grad()
    with OpFlopMode() as meta:
        net.to("meta")(X.to("meta")).sum().backward()
    assert real.profile.by("op")["aten.addmm"] == meta.profile.by("op")["aten.addmm"]
    assert arithmetic(real) == arithmetic(meta)


def test_integer_work_has_rows_and_is_in_no_total():
    """Adding integers is arithmetic, but not floating-point."""
    with OpFlopMode() as m:
        torch.arange(5) + torch.arange(5)
    assert m.total == Cost()
    assert [row.cost.ops for row in m.profile.where(op="aten.add").rows] == [5]
    assert m.profile.where(op="aten.add").rows[0].dtype == "int64"


def test_rows_carry_the_dtype_that_autocast_chose():
    """A Linear under autocast runs in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16), OpFlopMode() as m:
        nn.Linear(4, 3)(X)
    assert m.profile.where(op="aten.addmm").rows[0].dtype == "bfloat16"


def test_results_are_bit_identical_with_and_without_the_mode():
    """Outputs, gradients and the state of the random generator."""

    def run():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.GELU(), nn.LSTM(8, 3))
        out, _ = net(torch.randn(5, 4))
        out.sum().backward()
        return [out, *(parameter.grad for parameter in net.parameters()), torch.rand(3)]

    plain = run()
    with OpFlopMode():
        counted = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, counted, strict=True))


def test_timing_fills_seconds():
    """Without it rows have none; with it each row has what its calls took."""
    net = model()
    with OpFlopMode() as untimed:
        net(X)
    with OpFlopMode(timing=True) as timed:
        net(X)
    assert {row.seconds for row in untimed.profile.rows} == {None}
    assert all(row.seconds > 0 for row in timed.profile.rows)
    assert timed.total == untimed.total


def test_times_are_of_operators_and_not_of_their_pricing():
    """A formula that takes its time is not in the operator's."""

    def slow(self):
        time.sleep(0.2)
        return Cost()

    with OpFlopMode():
        torch.relu(X)  # PyTorch may import modules for the first call under several modes
    with OpFlopMode(timing=True, formulas={torch.ops.aten.relu: slow}) as m:
        torch.relu(X)
    assert m.profile.rows[0].seconds < 0.2


def test_questions_about_a_fake_tensor_leave_no_row():
    """Asking a tensor subclass for its device or size runs no kernel."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: PLC0415 - only here

    with FakeTensorMode():
        x = torch.ones(2, 4)
        with OpFlopMode() as m:
            _ = x.device, x.size(), x.stride(), x.numel(), x.is_contiguous(), x.dim()
    assert m.profile.rows == ()


def test_nothing_is_printed_or_warned_about_in_an_ordinary_run(capsys):
    """Counting is silent."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with OpFlopMode():
            model()(X).sum().backward()
    assert capsys.readouterr() == ("", "")


def test_rows_do_not_grow_with_steps():
    """Memory is by module, operator, phase and dtype."""
    net = model()
    optimizer = torch.optim.Adam(net.parameters())
    with OpFlopMode() as m:
        sizes = []
        for _ in range(4):
            optimizer.zero_grad()
            net(X).sum().backward()
            optimizer.step()
            sizes.append(len(m.profile.rows))
    assert sizes[1] == sizes[2] == sizes[3]


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "function",
    [
        lambda: nn.GRU(16, 8, 2, bidirectional=True)(torch.rand(4, 3, 16))[0],
        lambda: nn.functional.interpolate(torch.rand(1, 2, 5, 5), scale_factor=1.7, mode="bilinear"),
        lambda: nn.functional.interpolate(torch.rand(1, 2, 5, 5), scale_factor=2),
        lambda: nn.functional.dropout(torch.rand(50)),
        lambda: torch.stft(torch.rand(64), 16, return_complex=True, window=torch.ones(16)),
    ],
    ids=["gru", "bilinear", "nearest", "dropout", "stft"],
)
@pytest.mark.filterwarnings("ignore::opflops.UnpricedOpWarning")
def test_composite_operators_run_their_own_kernels(function, grad_mode):
    """What decomposes in a mode decomposes as autograd would, not as tracing does: bit by bit the same."""
    results, costs = [], []
    for counted in (False, True):
        torch.manual_seed(5)
        with grad_mode():
            if counted:
                with OpFlopMode() as m:
                    results.append(function())
                costs.append(arithmetic(m))
            else:
                results.append(function())
    assert torch.equal(*results)
    torch.manual_seed(5)
    with OpFlopMode() as m:
        function()
    assert arithmetic(m) == costs[0]


def test_pricing_is_not_counted_by_an_outer_mode():
    """Operators that a price runs to look at values belong to nobody's program."""

    def accumulate():
        torch.zeros(4, 4).index_put_((torch.ones(4, 4, dtype=torch.bool),), torch.ones(()), accumulate=True)

    with OpFlopMode(strict=True) as outer, OpFlopMode(strict=True) as inner:
        accumulate()
    assert outer.profile == inner.profile
    assert "aten.count_nonzero" not in {row.op for row in outer.profile.rows}


def test_a_formula_that_fails_does_not_end_the_program():
    """The operator is listed as unpriced with the reason; under strict it is an error."""
    broken = {torch.ops.aten.relu: lambda self: Cost(ops=self.shape[7])}
    with (
        pytest.warns(UnpricedOpWarning, match=r"aten\.relu .* no working formula .*IndexError"),
        OpFlopMode(formulas=broken) as m,
    ):
        torch.relu(X)
    assert m.profile.unpriced == {"aten.relu": 1}
    with pytest.raises(UnpricedOpError, match="IndexError"), OpFlopMode(formulas=broken, strict=True):
        torch.relu(X)


def test_a_fraction_that_comes_later_is_refused_too():
    """A formula that is right on the first call is checked on each; what was counted before can be read."""
    sometimes = {torch.ops.aten.relu: lambda self: Cost(ops=8 if self.numel() == 8 else self.numel() / 2)}
    with OpFlopMode(formulas=sometimes) as m:
        torch.relu(X)
        with pytest.raises(FormulaError, match=r"aten\.relu returned 1\.0 as ops on \(2, 1\)"):
            torch.relu(X[:, :1])
    assert m.total.ops == 8


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore::opflops.UnpricedOpWarning")
def test_nested_tensors_run_and_jagged_ones_count_by_true_lengths():
    """Five rows of four, whatever they are padded to; the older layout has kernels of its own, which are listed."""
    parts = [torch.rand(3, 4), torch.rand(2, 4)]
    linear = nn.Linear(4, 6)
    jagged = torch.nested.nested_tensor(parts, layout=torch.jagged)
    with OpFlopMode() as m:
        out = linear(jagged)
    assert m.total.macs == 5 * 4 * 6
    assert torch.equal(out.values(), linear(jagged.values()))
    strided = torch.nested.nested_tensor(parts)
    with OpFlopMode() as m:
        out = linear(strided)
    assert torch.equal(out[0], linear(parts[0]))
    assert m.total.macs == 5 * 4 * 6 or "aten.linear" in m.profile.unpriced


def test_a_call_that_was_replaced_before_opflops_came_is_still_made():
    """Whoever wraps module calls first sees each of them, in the block too."""
    code = (
        "import torch\n"
        "original, seen = torch.nn.Module.__call__, []\n"
        "def call(module, *args): seen.append(module); return original(module, *args)\n"
        "torch.nn.Module.__call__ = call\n"
        "import opflops\n"
        "with opflops.OpFlopMode() as m: torch.nn.Linear(2, 3)(torch.ones(1, 2))\n"
        "print(len(seen), m.total.macs)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1", "6"]
