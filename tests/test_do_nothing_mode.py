"""What runs, and what fails, inside a mode that does nothing does the same inside ``OpFlopMode``, and outside both."""

import copy
import pickle
import threading
from contextlib import nullcontext

import pytest
import torch
from do_nothing_mode import DoNothingMode
from hypothesis import given, settings
from test_random_programs import programs
from torch import nn
from torch._higher_order_ops import associative_scan, scan, while_loop
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.nn.utils import parametrizations, stateless
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode, ValueNeededError, count

pytestmark = pytest.mark.filterwarnings("ignore")  # what PyTorch warns about is not the matter here


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 4))


def x():
    torch.manual_seed(1)
    return torch.randn(4, 4, requires_grad=True)


def gradients(function, *inputs):
    out = function(*inputs)
    return out, torch.autograd.grad(out.sum(), inputs)


class Doubled(torch.autograd.Function):
    """A gradient of the program's own, which calls a module."""

    layer = nn.Linear(4, 4)

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        with torch.enable_grad():
            return Doubled.layer(grad * 2).detach() + ctx.saved_tensors[0]


class Failing(nn.Module):
    """Fail on the second call."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 2:
            raise KeyError("second")
        return x * 2


class Changing(TorchDispatchMode):
    """A mode of the program's own, which changes what operators return."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        return out + 1 if func is torch.ops.aten.mm.default else out


class Refusing(TorchDispatchMode):
    """A mode of the program's own that fails."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise NotImplementedError(f"{func} is refused")


def steps():
    model = net()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        model(x()).sum().backward()
        optimizer.step()
    return list(model.parameters()), [optimizer.state[p]["exp_avg"] for p in model.parameters()]


def another_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(net()(x())))
    thread.start()
    thread.join()
    return results


def hooks():
    model, seen = net(), []
    model[0].register_forward_hook(lambda module, args, out: seen.append(type(module).__name__) or out * 2)
    model[4].register_full_backward_hook(lambda module, grads, outs: seen.append(len(grads)))
    out = model(x()).sum()
    out.backward()
    return out, seen


def saved():
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True), torch.from_numpy):
        return gradients(torch.exp, x())


def failing():
    model = Failing()
    model(x())
    model(x())


def caught():
    model = nn.Sequential(Failing())
    model(x())
    try:
        model(x())
    except KeyError:
        return model(x())


def changed():
    with Changing():
        return x() @ x(), net()(x())


def refused():
    with Refusing():
        return x() @ x()


def fake():
    with FakeTensorMode() as mode:
        out = nn.Linear(4, 3)(torch.empty(4, 4)), mode.from_tensor(x().detach()) @ torch.empty(4, 3)
    return [(each.shape, each.device, each.dtype) for each in out]


def functional_call():
    model = net()
    weights = {name: value.detach() for name, value in model.named_parameters()}
    loss = lambda weights: stateless.functional_call(model, weights, x()).sum()  # noqa: E731 - as programs write it
    return torch.func.grad(loss)(weights), torch.func.jacrev(torch.sin)(x()), torch.func.vmap(torch.dot)(x(), x())


def forward_mode():
    return torch.func.jvp(net().eval(), (x(),), (x(),)), torch.func.hessian(lambda x: (x**3).sum())(torch.ones(3))


def compiled():
    model = torch.compile(net(), backend="eager")
    return gradients(model, x())


def parametrized():
    layer = parametrizations.weight_norm(nn.Linear(4, 4))
    layer.weight = torch.eye(4)
    return gradients(layer, x())


def autocast():
    with torch.autocast("cpu", torch.bfloat16):
        return gradients(lambda x: net()(x) @ x, x())


def lstm():
    return nn.LSTM(4, 4, 2, bidirectional=True)


def copied():
    model = pickle.loads(pickle.dumps(copy.deepcopy(net())))  # noqa: S301 - the test's own
    return model(x()), model.state_dict()


def quantized_call():
    body = torch.fx.symbolic_trace(lambda x: (x @ x,))
    return torch.ops.higher_order.invoke_quant(body, x().detach())


PROGRAMS = {
    "a quantized call": quantized_call,
    "steps": steps,
    "hooks": hooks,
    "another thread": another_thread,
    "hooks on saved tensors": saved,
    "an exception": failing,
    "an exception that is caught": caught,
    "a mode that changes results": changed,
    "a mode that fails": refused,
    "fake tensors": fake,
    "functional call": functional_call,
    "forward mode": forward_mode,
    "compiled": compiled,
    "parametrized": parametrized,
    "copied": copied,
    "autograd function": lambda: gradients(Doubled.apply, x()),
    "checkpoint": lambda: gradients(lambda x: checkpoint(net(), x, use_reentrant=False), x()),
    "reentrant checkpoint": lambda: gradients(lambda x: checkpoint(net(), x, use_reentrant=True), x()),
    "two tensors": lambda: (TwoTensor(x(), x()) @ TwoTensor(x(), x())).a,
    "in place on a view": lambda: x().detach()[1:].t().add_(1),
    "out=": lambda: torch.mm(x().detach(), x().detach(), out=torch.empty(4, 4)),
    "out= with grad": lambda: torch.mm(x(), x(), out=torch.empty(4, 4)),
    "in place on a leaf": lambda: x().add_(1),
    "a wrong shape": lambda: net()(torch.ones(2, 3)),
    "a wrong dtype": lambda: net()(torch.ones(2, 4, dtype=torch.int64)),
    "a wrong argument": lambda: functional.conv2d(x(), x(), padding="wrong"),
    "a batch of one": lambda: net()(torch.ones(1, 4)),
    "an index out of range": lambda: functional.embedding(torch.tensor([9]), torch.ones(3, 2)),
    "backward twice": lambda: [x().sum().backward() for out in [x().exp().sum()] for _ in range(2) if out.backward()],
    "a singular matrix": lambda: torch.linalg.inv(torch.zeros(3, 3)),
    "an unknown operator": lambda: torch.ops.aten.no_such_operator(x()),
    "anomaly": lambda: gradients(torch.autograd.detect_anomaly(check_nan=True)(lambda x: (x * 0) / 0), x()),
    "cond": lambda: torch.cond(x().sum() > 0, lambda x: x @ x, lambda x: x.sin(), (x(),)),
    "a branch of another shape": lambda: torch.cond(x().sum() > 0, lambda x: x @ x, lambda x: x[1:], (x(),)),
    "while_loop": lambda: while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x @ x), (torch.tensor(0), x().detach())),
    "scan": lambda: scan(lambda carry, x: (carry @ x, carry + x), torch.eye(4), torch.ones(3, 4, 4)),
    "associative_scan": lambda: associative_scan(torch.add, x().detach(), 0, combine_mode="generic"),
    "svd": lambda: gradients(lambda x: torch.linalg.svdvals(x), x()),
    "lstm": lambda: gradients(lambda x: lstm()(x)[0], x()),
    "sparse": lambda: torch.sparse.mm(torch.eye(4).to_sparse_csr(), x().detach()),
    "nested": lambda: (
        torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=torch.jagged).sin().values()
    ),
    "autocast": autocast,
}


def plain(value):
    """Reduce a result to what can be compared by ``==``."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.requires_grad, tuple(value.shape), value.detach().to_dense().tolist()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def outcome(program, mode):
    """Run a program inside a mode, and return its result, or its exception."""
    torch.manual_seed(2)
    with mode:
        try:
            result = program()
        except Exception as error:  # noqa: BLE001 - whichever it is
            return type(error), str(error)
        return repr(plain(result))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_does_the_same_in_every_mode(name):
    """It returns the same, or fails with the same sentence, alone, in a mode that does nothing, and counted."""
    program = PROGRAMS[name]
    alone = outcome(program, nullcontext())
    assert outcome(program, DoNothingMode()) == alone
    assert outcome(program, OpFlopMode()) == alone
    with DoNothingMode():
        assert outcome(program, OpFlopMode(causal="exact")) == alone


def rows(program, *around, inside=nullcontext):
    with around[0] if around else nullcontext(), OpFlopMode(strict=True) as mode, inside():
        program()
    return mode.profile.rows


@settings(max_examples=25, deadline=None)
@given(root=programs())
def test_a_random_program_has_the_same_rows_with_a_mode_around_or_inside(root):
    """All modules, operators, phases and costs."""

    def program():
        root.zero_grad()
        root(torch.ones(2, 4, requires_grad=True)).sum().backward()

    alone = rows(program)
    assert rows(program, DoNothingMode()) == alone
    assert rows(program, inside=DoNothingMode) == alone
    with OpFlopMode(strict=True) as outer:
        assert rows(program) == alone
    assert outer.profile.rows == alone


def test_a_mode_that_passes_operators_on_is_not_where_a_program_fails():
    """The sentence names the line of the program that asks for a value."""
    with DoNothingMode(), pytest.raises(ValueNeededError, match=r"aten\.index \(test_do_nothing_mode\.py:\d+\)"):
        count(lambda x: x[x > 0], x())
