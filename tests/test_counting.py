"""count(): the same figures without arithmetic, memory, or a trace on the model."""

import copy

import pytest
import torch
from torch import nn

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

    with pytest.raises(
        ValueNeededError, match=r"Peeks asks for the value of a tensor .* real inputs inside OpFlopMode"
    ):
        count(Peeks(), torch.ones(2))


def test_backward_without_anything_to_differentiate_gets_a_sentence():
    """No output requires a gradient."""
    with pytest.raises(OpflopsError, match=r"backward=True needs an output.* of 1 tensors found"):
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


def test_a_backward_into_a_parameter_out_of_reach_is_refused():
    """What is found by other ways than names cannot be copied, and is not given gradients without storage."""
    with pytest.raises(OpflopsError, match="no part of the model or the inputs"):
        count(lambda x: Elsewhere.model(x), torch.ones(2, 4), backward=True)
    assert Elsewhere.model.weight.grad is None


def test_an_input_may_have_been_computed():
    """Its own history is not differentiated."""
    computed = nn.Linear(4, 4)(torch.ones(2, 4))
    assert count(nn.Linear(4, 3), computed, backward=True).by("phase")["backward"].macs == 2 * 24
