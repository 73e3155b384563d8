"""Bare launches of Triton kernels: counted by their names, with stand-ins and with Triton itself."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import required
import torch
from torch import nn

from opflops import Cost, OpFlopMode, UnpricedOpError, UnpricedOpWarning, count
from opflops.compat import FlopCounterMode, flop_registry, register_flop_formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule

# A launch in Triton is ``run`` of a kernel, or of a wrapper that adds arguments and calls ``run`` of what it wraps.
JIT = """
class KernelInterface:
    def __getitem__(self, grid):
        return lambda *args, **kwargs: self.run(grid=grid, warmup=False, *args, **kwargs)


class JITFunction(KernelInterface):
    def __init__(self, fn):
        import inspect
        self.fn, self.arg_names = fn, list(inspect.signature(fn).parameters)

    def run(self, *args, grid, warmup, num_warps=4, **kwargs):
        self.fn(*args, **kwargs)
"""
AUTOTUNER = """
from triton.runtime.jit import KernelInterface


class Config:
    def __init__(self, **kwargs):
        self.kwargs = kwargs

    def all_kwargs(self):
        return self.kwargs


class Autotuner(KernelInterface):
    def __init__(self, fn, configs):
        self.fn, self.arg_names, self.configs = fn, fn.arg_names, configs

    def run(self, *args, **kwargs):
        for config in self.configs:
            self.fn.run(*args, **kwargs, **config.kwargs)
        return self.fn.run(*args, **kwargs, **self.configs[-1].kwargs)


class Heuristics(KernelInterface):
    def __init__(self, fn, values):
        self.fn, self.arg_names, self.values = fn, fn.arg_names, values

    def run(self, *args, **kwargs):
        for name, value in self.values.items():
            kwargs[name] = value({**dict(zip(self.arg_names, args)), **kwargs})
        return self.fn.run(*args, **kwargs)
"""


@pytest.fixture
def triton(monkeypatch):
    """Stand for Triton, loaded before the block."""
    # PyTorch's compiler looks for the package itself, which is not there.
    modules = {name: types.ModuleType(name) for name in ("triton.runtime.jit", "triton.runtime.autotuner")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name, source in (("jit", JIT), ("autotuner", AUTOTUNER)):
        exec(source, vars(modules[f"triton.runtime.{name}"]))  # noqa: S102 - above
    members = {**vars(modules["triton.runtime.jit"]), **vars(modules["triton.runtime.autotuner"])}
    return types.SimpleNamespace(**{name: value for name, value in members.items() if not name.startswith("_")})


def scale(x, out, n, factor=2, BLOCK=1):  # noqa: N803 - as kernels spell constants
    del n, BLOCK
    out.copy_(x * factor)


class Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kernel):
        ctx.kernel, out = kernel, torch.empty_like(x)
        kernel[(1,)](x, out, x.numel(), num_warps=8)
        return out

    @staticmethod
    def backward(ctx, grad):
        out = torch.empty_like(grad)
        ctx.kernel[(1,)](grad, out, grad.numel(), num_warps=8)
        return out, None


class Layer(nn.Module):
    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def forward(self, x):
        return Function.apply(x, self.kernel)


@pytest.mark.parametrize("registered", [False, True])
def test_a_launch_counts_by_a_formula_of_flops(triton, registered):
    """Of a ``FlopCounterMode``, under the kernel itself, for the module that launches it; it gets the arguments."""
    kernel = triton.JITFunction(scale)

    def flops(*, kwargs, out_shape):
        assert out_shape is None
        return 10 * kwargs["n"] + kwargs["x"][0]

    if registered:
        register_flop_formula(kernel)(flops)
    model, x = nn.Sequential(Layer(kernel)), torch.ones(3, requires_grad=True)
    try:
        with FlopCounterMode(display=False, custom_mapping=None if registered else {kernel: flops}) as mode:
            model(x).sum().backward()
    finally:
        flop_registry.pop(kernel, None)
    assert mode.get_flop_counts() == {name: {kernel: 2 * 33} for name in ("Global", "Sequential", "Sequential.0")}
    with pytest.raises(ValueError, match="expected each target to be OpOverloadPacket"):
        register_flop_formula(scale)


def test_a_launch_without_a_formula_is_listed_where_it_happens(triton):
    """One warning; a row for each module and phase; and nothing of what the stand-in runs on tensors."""
    model, x = nn.Sequential(Layer(triton.JITFunction(scale))), torch.ones(3, requires_grad=True)
    with pytest.warns(UnpricedOpWarning, match=r'triton::scale"') as caught, OpFlopMode() as mode:
        model(model(x)).sum().backward()
    assert len(caught) == 1
    assert torch.equal(x.grad, torch.full((3,), 4.0))
    rows = [(row.module, row.phase, row.calls) for row in mode.profile.rows if row.op == "triton.scale"]
    assert rows == [("Sequential.0", "forward", 2), ("Sequential.0", "backward", 2)]
    assert mode.profile.unpriced == {"triton.scale": 4}
    assert not {"aten.mul", "aten.copy_"} & set(mode.profile.by("op"))


def test_a_strict_mode_raises_before_the_launch(triton):
    """So nothing is written."""
    out = torch.zeros(3)
    with pytest.raises(UnpricedOpError, match="triton::scale"), OpFlopMode(strict=True):
        triton.JITFunction(scale)[(1,)](torch.ones(3), out, 3)
    assert torch.equal(out, torch.zeros(3))


def cost_of_scale(x, n, factor, BLOCK, *, out, causal):  # noqa: N803 - the kernel's name for it
    assert (out, causal) == (None, "dense")
    return Cost(ops=n, macs=BLOCK, transcendentals=factor * x.numel())


def launch(triton, kind):
    kernel = triton.JITFunction(scale)
    if kind == "autotuned":
        kernel = triton.Autotuner(kernel, [triton.Config(BLOCK=4), triton.Config(BLOCK=8)])
    elif kind == "by a heuristic":
        kernel = triton.Heuristics(kernel, {"BLOCK": lambda given: given["n"] + 5})
    elif kind == "both":
        inner = triton.Heuristics(kernel, {"factor": lambda given: given["BLOCK"] // 4})
        kernel = triton.Autotuner(inner, [triton.Config(BLOCK=4), triton.Config(BLOCK=8)])
    return kernel[(1,)], {"BLOCK": 8} if kind == "plain" else {}


@pytest.mark.parametrize("kind", ["plain", "autotuned", "by a heuristic", "both"])
def test_a_formula_gets_the_arguments_of_the_kernel(triton, kind):
    """By name, with defaults and with what wrappers add. Trials of an autotuner do not count; all nested modes do."""
    run, options = launch(triton, kind)
    formulas = {"triton::scale": cost_of_scale}
    with OpFlopMode(strict=True, formulas=formulas) as outer, OpFlopMode(strict=True, formulas=formulas) as inner:
        run(torch.ones(3), torch.zeros(3), 3, **options)
    for mode in (outer, inner):
        (row,) = [row for row in mode.profile.rows if row.op == "triton.scale"]
        assert (row.calls, row.dtype, row.priced) == (1, "float32", True)
        assert row.cost == Cost(8, 3, 6, bytes_read=24)


def test_a_formula_that_requires_what_the_kernel_lacks(triton):
    """The message lists what there is; under strict it is an error before the launch."""
    out = torch.zeros(3)
    formulas = {"triton::scale": lambda q: Cost(ops=q)}
    with (
        pytest.warns(UnpricedOpWarning, match="requires 'q'.*BLOCK, causal, factor, n, out, x"),
        OpFlopMode(formulas=formulas) as mode,
    ):
        triton.JITFunction(scale)[(1,)](torch.ones(3), out, 3)
    assert mode.profile.unpriced == {"triton.scale": 1}
    out.zero_()
    with pytest.raises(UnpricedOpError, match="requires 'q'"), OpFlopMode(strict=True, formulas=formulas):
        triton.JITFunction(scale)[(1,)](torch.ones(3), out, 3)
    assert torch.equal(out, torch.zeros(3))


@pytest.mark.parametrize("kind", ["autotuned", "by a heuristic", "both"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tensors_without_data_are_not_launched_on(triton, kind, device):
    """Counting without running prices the launch; an autotuner takes its first configuration."""

    class Model(nn.Module):
        def forward(self, x):
            launch(triton, kind)[0](x, out := torch.empty_like(x), x.numel())
            return out

    registry._rules_by_name["triton::scale"] = PricingRule(cost_of_scale)
    try:
        profile = count(Model(), torch.ones(3, device=device))
    finally:
        del registry._rules_by_name["triton::scale"]
    (row,) = [row for row in profile.rows if row.op == "triton.scale"]
    assert (row.module, row.cost.ops, row.cost.macs) == ("Model", 3, 8 if kind == "by a heuristic" else 4)


def test_compiling_ahead_is_no_launch(triton):
    """Warming a kernel up runs nothing."""
    kernel = triton.JITFunction(lambda *_: None)
    with OpFlopMode(strict=True) as mode:
        kernel.run(torch.ones(3), torch.zeros(3), 3, grid=(1,), warmup=True)
    assert "triton" not in str(mode.profile)


def test_an_operator_that_launches_a_kernel_is_counted_once(triton):
    """As the operator: it is listed, or has a formula, and the kernel is a part of it."""
    kernel = triton.JITFunction(scale)

    @torch.library.custom_op("opflops_tests::launches", mutates_args=())
    def launches(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(x)
        kernel[(1,)](x, out, x.numel())
        return out

    with pytest.warns(UnpricedOpWarning, match="opflops_tests.launches"), OpFlopMode() as mode:
        launches(torch.ones(3))
    assert mode.profile.unpriced == {"opflops_tests.launches": 1}


def test_patches_leave_with_the_block(triton):
    """Launches outside a block run the original."""
    original = vars(triton.JITFunction)["run"]
    finders = list(sys.meta_path)
    with OpFlopMode():
        assert vars(triton.JITFunction)["run"] is not original
    assert vars(triton.JITFunction)["run"] is original
    assert sys.meta_path == finders


def test_a_library_that_is_imported_inside_the_block(tmp_path):
    """Its launches count too."""
    runtime = tmp_path / "triton" / "runtime"
    runtime.mkdir(parents=True)
    (tmp_path / "triton" / "__init__.py").touch()
    (runtime / "__init__.py").touch()
    (runtime / "jit.py").write_text(JIT)
    code = f"""
import sys, warnings, torch
from opflops import OpFlopMode
def scale(x, out, n): out.copy_(2 * x)
with OpFlopMode() as mode, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sys.path.insert(0, {str(tmp_path)!r})
    from triton.runtime.jit import JITFunction
    JITFunction(scale)[(1,)](torch.ones(3), torch.zeros(3), 3)
print(mode.profile.unpriced, [finder for finder in sys.meta_path if "opflops" in repr(finder)])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found == "{'triton.scale': 1} []\n"


@pytest.mark.external
@pytest.mark.parametrize("when", ["early", "late"])
def test_triton_itself(when):
    """On a CPU, interpreted: imported before the block or inside it, launched forward and backward, and wrapped."""
    required.models("triton")
    program = Path(__file__).parent / "triton_program.py"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    found = subprocess.run(
        [sys.executable, program, when], capture_output=True, text=True, check=False, env=environment
    )
    assert found.returncode == 0, found.stderr
    seen = json.loads(found.stdout)
    assert len(seen["warnings"]) == 1
    assert "triton::axpy" in seen["warnings"][0]
    assert seen["gradient"] == [2.0] * 6
    assert seen["unpriced"] == [["Layer", "forward", 1], ["Layer", "backward", 1]]
    assert "aten.set_" not in seen["ops"]
    assert seen["before strict"] == [0.0] * 6
    assert seen["priced"] == [[1, "float32", block, 6, 12, 48] for block in (8, 8, 16)]
