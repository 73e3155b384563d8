"""count(): the same figures without arithmetic, memory, or a trace on the model."""

import copy
import functools

import pytest
import torch
from test_overhead import calls
from torch import nn
from zoo.transformers import Llama

from opflops import OpFlopMode, OpflopsError, ValueNeededError, count
from opflops.example import INPUT_SHAPE, SimpleCNN


def arithmetic(profile):
    """Key the rows that do arithmetic; how gradients are stored may differ with the strides of a fake kernel."""
    return {
        (row.module, row.op, row.phase, row.dtype): (row.calls, row.cost)
        for row in profile.rows
        if row.cost.flops or row.cost.transcendentals
    }


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (SimpleCNN(), (torch.ones(INPUT_SHAPE),)),
        (nn.LSTM(4, 3, num_layers=2, bidirectional=True), (torch.ones(5, 2, 4),)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (torch.ones(2, 5, 8),)),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)), (torch.zeros(2, 3, dtype=torch.long),)),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (torch.ones(2, 3, 8, 8),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_counting_without_running_gives_the_figures_of_a_run(model, inputs):
    """Row by row, forward and backward."""
    fake = count(model, *inputs, backward=True)
    with OpFlopMode() as real:
        out = model(*inputs)
        outputs = [one for one in torch.utils._pytree.tree_leaves(out) if one.requires_grad]
        torch.autograd.backward(outputs, [torch.ones_like(one) for one in outputs])
    assert arithmetic(fake) == arithmetic(real.profile)


def test_the_model_and_the_inputs_stay_as_they_are():
    """No gradient, no changed buffer, no fake left behind, and the random generator where it was."""
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout())
    x = torch.ones(3, 4, requires_grad=True)
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    count(model, x, backward=True)
    assert torch.equal(state, torch.get_rng_state())
    assert x.grad is None
    for name, value in model.state_dict().items():
        assert type(value) is torch.Tensor
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_larger_than_memory_is_counted():
    """Forty billion weights on meta, 16 rows."""
    wide = nn.Linear(200_000, 200_000, device="meta")
    assert count(wide, torch.empty(16, 200_000, device="meta")).total.macs == 16 * 200_000**2


def test_tensors_that_are_no_parameters_become_fake_too():
    """Plain attributes and constants made in forward mix with the rest."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.ones(4)

        def forward(self, x):
            return x * self.table + torch.ones(4)

    assert count(Net(), torch.ones(2, 4)).total.ops == 16


def test_sharing_is_kept():
    """A tied weight is one tensor in the copy, so its gradients accumulate."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    tied = count(model, torch.ones(2, 4), backward=True)
    assert tied.where(phase="backward").by("op")["aten.add"].ops == 16


def test_keyword_arguments_and_functions_count():
    """Any function of tensors is a model."""
    profile = count(torch.nn.functional.linear, torch.ones(2, 4), weight=torch.ones(3, 4))
    assert profile.total.macs == 24


def test_a_program_that_needs_a_value_gets_a_sentence():
    """The error names the model and says what to do."""

    class Peeks(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum().item() > 0 else x

    with pytest.raises(ValueNeededError, match=r"Peeks needs the value of a tensor .* real inputs inside OpFlopMode"):
        count(Peeks(), torch.ones(2))


@pytest.mark.parametrize("made", [False, True])
def test_an_optimizer_that_needs_a_value_is_named(made):
    """Adafactor reads the norm of each parameter; the model needs no value."""
    model, optimizer = nn.Linear(4, 3), torch.optim.Adafactor
    with pytest.raises(ValueNeededError, match=r"^Adafactor needs the value of a tensor"):
        count(model, torch.ones(2, 4), optimizer=optimizer(model.parameters()) if made else optimizer)


def test_backward_without_anything_to_differentiate_gets_a_sentence():
    """No output requires a gradient."""
    with pytest.raises(OpflopsError, match=r"No output requires a gradient.*The model returned 1 tensor"):
        count(nn.ReLU(), torch.ones(2), backward=True)


def test_several_outputs_are_differentiated_together():
    """Nested outputs, and such as need no gradient, are taken as they come."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return {"a": self.a(x), "rest": [self.b(x), x, 3]}

    assert count(Two(), torch.ones(2, 4), backward=True).by("phase")["backward"].macs == 2 * 4 * (3 + 2)


OUTER = nn.BatchNorm1d(4)
TENSOR = torch.zeros(4)


def test_what_a_function_reaches_stays_as_it_is():
    """Modules and tensors in a closure or among the globals are copied like arguments."""
    inner, several = nn.Linear(4, 3), [nn.Linear(4, 4)]

    def function(x, *, shift=1.0):
        TENSOR.add_(1)
        return inner(OUTER(several[0](x))) + shift + TENSOR.sum()

    profile = count(function, torch.ones(2, 4), backward=True)
    assert profile.by("phase")["forward"].macs == 2 * 4 * (4 + 3)
    assert OUTER.num_batches_tracked == 0
    assert not TENSOR.any()
    for module in (inner, OUTER, several[0]):
        assert all(parameter.grad is None for parameter in module.parameters())


class Elsewhere:
    model = nn.Linear(4, 3)
    meta = nn.Linear(4, 3, device="meta")


def test_a_backward_into_a_parameter_out_of_reach_is_refused():
    """What is found by other ways than names cannot be copied, and is not given gradients without storage."""
    with pytest.raises(OpflopsError, match="belongs neither to the model nor to the inputs"):
        count(lambda x: Elsewhere.model(x), torch.ones(2, 4), backward=True)
    assert Elsewhere.model.weight.grad is None


def test_an_input_may_have_been_computed():
    """Its own history is not differentiated."""
    computed = nn.Linear(4, 4)(torch.ones(2, 4))
    assert count(nn.Linear(4, 3), computed, backward=True).by("phase")["backward"].macs == 2 * 24


def trained(model, x, optimizer, steps):
    """Count the last of some steps of a real training, and the passes before it."""
    for _ in range(steps - 1):
        model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    with OpFlopMode() as mode:
        model(x).backward(torch.ones(2, 3))
        optimizer.step()
    return mode.profile


OPTIMIZERS = [
    *(torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adadelta, torch.optim.Adagrad),
    lambda parameters: torch.optim.SGD(parameters, momentum=0.9, weight_decay=0.1),
    lambda parameters: torch.optim.Adam(parameters, amsgrad=True, foreach=True),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_optimizer_that_is_made_has_made_a_step_before(make, device):
    """What it does in its first step alone, such as making its buffers, is in no other step, and is not counted."""
    model, x = nn.Linear(4, 3), torch.ones(2, 4)
    wanted = trained(model, x, make(model.parameters()), steps=2)
    found = count(nn.Linear(4, 3, device=device), x.to(device), optimizer=make)
    assert arithmetic(found) == arithmetic(wanted)
    assert {row.phase for row in found.rows} == {"forward", "backward", "optimizer"}


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("steps", [1, 3])
def test_an_optimizer_that_is_there_makes_its_next_step(make, steps):
    """Its first, or a later one; neither it nor the parameters change."""
    model, x = nn.Linear(4, 3), torch.ones(2, 4)
    optimizer = make(model.parameters())
    for _ in range(steps - 1):
        model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    state, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model.state_dict())
    found = count(model, x, optimizer=optimizer)
    assert str(optimizer.state_dict()) == str(state)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    with OpFlopMode() as mode:
        model(x).backward(torch.ones(2, 3))
        optimizer.step()
    assert arithmetic(found) == arithmetic(mode.profile)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (torch.optim.LBFGS, "LBFGS.step.. needs more than gradients .*closure.*run one inside OpFlopMode"),
        (lambda _: 3, "returned 3. It must be an optimizer, a class such as"),
        (torch.optim.SGD([nn.Parameter(torch.ones(2))]), "No parameter of this SGD has a gradient"),
    ],
)
def test_an_optimizer_that_cannot_step_gets_a_sentence(optimizer, message):
    """What is wrong with it, and what to do."""
    with pytest.raises(OpflopsError, match=message):
        count(nn.Linear(4, 3), torch.ones(2, 4), optimizer=optimizer)


def test_an_error_says_which_operator_in_which_module():
    """And the line that asked for it."""

    class Routes(nn.Module):
        def forward(self, x):
            return x[x.sum(-1) > 0]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4), Routes()])

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    place = r"Net needs the value of a tensor \(aten.index in Net.blocks.1 \(test_counting.py:\d+\)\)"
    with pytest.raises(ValueNeededError, match=place):
        count(Net(), torch.ones(2, 4))
    with pytest.raises(ValueNeededError, match=place), torch.device("meta"):
        count(Net(), torch.ones(2, 4))


def test_tensors_on_meta_are_taken_to_be_where_the_others_are():
    """A real model on inputs that have shapes alone, and the other way round."""
    x = torch.ones(2, 1, 8, 8)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 2))
    wanted = count(model, x, backward=True)
    assert count(model, x.to("meta"), backward=True) == wanted
    assert count(copy.deepcopy(model).to("meta"), x, backward=True) == wanted
    assert x.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_program_on_meta_may_make_tensors_elsewhere():
    """As models do that never ran there: then it is counted as on a CPU."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            mask = torch.ones(2, 4) * torch.arange(3).sum()
            return self.inner(x) * mask

    model = Net()
    wanted = count(model, torch.ones(2, 4), backward=True)
    assert count(model.to("meta"), torch.ones(2, 4, device="meta"), backward=True) == wanted


def test_mixed_devices_get_a_sentence():
    """Where inside the program they meet."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(x.to("meta"))

    with pytest.raises(
        OpflopsError, match=r"Net mixes tensors of several devices at aten.\w+ in Net.inner .*Put the model"
    ):
        count(Net(), torch.ones(2, 4))


def test_a_meta_model_keeps_its_gradients_and_buffers():
    """It is a copy that runs, on meta too."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).to("meta")
    before = dict(model.named_buffers())
    count(model, torch.ones(2, 4, device="meta"), backward=True)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(value is before[name] for name, value in model.named_buffers())
    with pytest.raises(OpflopsError, match="belongs neither to the model nor to the inputs"):
        count(lambda x: Elsewhere.meta(x), torch.ones(2, 4, device="meta"), backward=True)
    assert Elsewhere.meta.weight.grad is None


def test_a_model_of_seventy_billion_parameters():
    """Llama 3: 306,669,254,868,992 products for 4,096 tokens, those of attention in a full square."""
    with torch.device("meta"):
        model, ids = Llama(), torch.zeros(1, 4096, dtype=torch.int64)
    profile = count(model, ids)
    weights = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and name != "tokens.weight")
    assert profile.total.macs == 4096 * weights + 80 * 2 * 4096**2 * 8192 == 306_669_254_868_992


@pytest.mark.counts_calls
def test_counting_on_meta_takes_fewer_calls_than_running_there():
    """Layers that are alike ask PyTorch the same questions, each of which it is asked once."""
    with torch.device("meta"):
        model, ids = Llama(16, 64, 4, 2, 96, 50), torch.zeros(1, 16, dtype=torch.int64)
    count(model, ids)
    # The count also notes the shapes of each module's call, and the order of execution.
    assert calls(lambda: count(model, ids)) < 0.9 * calls(lambda: model(ids))


class Holder:
    def __init__(self, module):
        self.module = module

    def __call__(self, x):
        return self.module(x)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "make", [lambda module: module.forward, functools.partial, Holder, lambda module: Holder(module).__call__]
)
def test_whatever_holds_a_module_can_be_called(make, device):
    """Methods, partial functions and objects: gradients, optimizers and inputs on meta as with the module itself."""
    module = nn.Linear(4, 3, device=device)
    for x in (torch.ones(2, 4, device=device), torch.ones(2, 4, device="meta")):
        profile = count(make(module), x, optimizer=torch.optim.SGD)
        assert {phase: cost.macs for phase, cost in profile.by("phase").items() if cost.macs} == {
            "forward": 24, "backward": 24,
        }  # fmt: skip
        assert module.weight.grad is None
        assert profile.by("phase")["optimizer"].ops > 0


def test_an_input_that_stands_twice_stays_one():
    """Its gradients accumulate, whether or not it was computed."""
    leaf = torch.ones(2, 4, requires_grad=True)
    once = count(torch.mul, leaf, leaf, backward=True)
    assert arithmetic(count(torch.mul, leaf * 1, leaf, backward=True)) != arithmetic(once)
    computed = leaf * 1
    assert arithmetic(count(torch.mul, computed, computed, backward=True)) == arithmetic(once)


def test_higher_order_operators_are_counted_without_running():
    """As under the mode: the dearer of two branches."""

    def either(x):
        return torch.cond(x.sum() > 0, lambda y: y @ y, lambda y: y + 1, (x,))

    assert count(either, torch.ones(8, 8)).total.macs == 8**3
    assert count(either, torch.ones(8, 8, device="meta")).total.macs == 8**3


def test_optimizers_of_ones_own_keep_what_they_hold():
    """Attributes that PyTorch's own optimizers do not have; a scheduler's wrapper stays with the original."""

    class Scaled(torch.optim.SGD):
        def __init__(self, parameters, scale):
            super().__init__(parameters, lr=0.1)
            self.scale = scale

        def step(self, closure=None):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.grad.mul_(self.scale)
            return super().step(closure)

    model = nn.Linear(4, 3)
    before = copy.deepcopy(model.state_dict())
    optimizer = Scaled(model.parameters(), 2.0)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    assert count(model, torch.ones(2, 4), optimizer=optimizer).by("phase")["optimizer"].ops == 15 + 2 * 15
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(OpflopsError, match=r"optimizer must be an optimizer, a class .*, not 'sgd'"):
        count(model, torch.ones(2, 4), optimizer="sgd")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_exact_causal_mask_leaves_out_what_it_hides(device):
    """Of 5 x 5 scores 15 are seen, in two products of 8 features for 2 x 3 heads; for all lengths n(n+1)/2."""
    q = torch.zeros(2, 3, 5, 8, device=device)

    def attend(q):
        return torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)

    assert count(attend, q).total.macs == 2 * 25 * 8 * 2 * 3
    assert count(attend, q, causal="exact").total.macs == 2 * 15 * 8 * 2 * 3
    length = torch.export.Dim("length", max=100)
    symbolic = count(attend, q, dynamic_shapes=({2: length},), causal="exact")
    assert symbolic.at(length=9).total.macs == 2 * 45 * 8 * 2 * 3


def test_what_is_on_meta_can_be_counted_as_if_elsewhere():
    """As on the CPU, operator by operator: attention is fused there, and is not on meta."""
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.zeros(2, 5, 8)
    there = count(layer, x, backward=True)
    with torch.device("meta"):
        bare, y = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), torch.zeros(2, 5, 8)
    assert count(bare, y, backward=True, device="cpu").rows == there.rows
    assert count(bare, y, backward=True).by("op").keys() != there.by("op").keys()
    batch = torch.export.Dim("batch")
    symbolic = count(bare, y, device="cpu", dynamic_shapes=({0: batch},))
    assert symbolic.at(batch=2).total == count(layer, x).total


@pytest.mark.parametrize(
    ("device", "message"),
    [("abacus", "PyTorch does not know device='abacus'"), ("xpu", "PyTorch cannot use device='xpu' here")],
)
def test_a_device_that_is_not_there_is_a_sentence(device, message):
    """PyTorch itself would end the process."""
    with pytest.raises(OpflopsError, match=message):
        count(torch.nn.Linear(2, 3, device="meta"), torch.ones(1, 2, device="meta"), device=device)
