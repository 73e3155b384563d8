"""count() of modules that change themselves in their forward: other dtypes, other data, new parameters, new layers.

Each count has the rows of a run and the products that arithmetic by hand gives, and the model stays as it was.
"""

import copy

import pytest
import torch
from test_model_copies import rows, state_of
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from opflops import OpFlopMode, count

X = torch.ones(5, 4)
PRODUCTS = 5 * 4 * 3


class Net(nn.Module):
    """Change itself, then call a linear layer of 4 inputs."""

    def __init__(self, change, features=3):
        super().__init__()
        self.lin, self.change = nn.Linear(4, features), change
        self.register_buffer("index", torch.tensor([1, 2]))

    def forward(self, x):
        return self.change(self, x)


def converted(convert, dtype=torch.float64):
    """Convert the layer, then call it."""

    def change(net, x):
        convert(net)
        return net.lin(x.to(dtype))

    return change


def assign(name, value):
    """Set an attribute of the layer's weight."""
    return lambda net: setattr(net.lin.weight, name, value(net.lin.weight))


def convert_by_flag(flag):
    def convert(net):
        before = getattr(torch.__future__, f"get_{flag}")()
        getattr(torch.__future__, f"set_{flag}")(True)
        try:
            net.lin.to(torch.float64)
        finally:
            getattr(torch.__future__, f"set_{flag}")(before)

    return convert


def replace_layer(net):
    net.lin = net.lin.to(torch.float64)


def replace_weight(net):
    net.lin.weight, net.lin.bias = nn.Parameter(net.lin.weight.double()), None


def replace_weight_by_its_type(net):
    net.lin.weight = type(net.lin.weight)(net.lin.weight.data * 2, requires_grad=True)


def replace_all_data(net):
    for parameter in net.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)


def add_layer(net):
    net.lin = nn.Linear(4, 3, dtype=torch.float64)


def load(net):
    net.lin.load_state_dict({name: value.double() for name, value in net.lin.state_dict().items()}, assign=True)


def swap(net):
    torch.utils.swap_tensors(net.lin.weight, nn.Parameter(torch.ones(3, 4)))


CHANGES = {
    "to": converted(lambda net: net.lin.to(torch.float64)),
    "to of the model": converted(lambda net: net.to(torch.float64)),
    "to of a tensor": converted(lambda net: net.lin.to(torch.ones(1, dtype=torch.float64))),
    "assigned": converted(replace_layer),
    "double": converted(lambda net: net.lin.double()),
    "half": converted(lambda net: net.lin.half(), torch.float16),
    "bfloat16": converted(lambda net: net.bfloat16(), torch.bfloat16),
    "float": converted(lambda net: net.lin.float(), torch.float32),
    "type": converted(lambda net: net.lin.type(torch.float64)),
    "cpu": converted(lambda net: net.cpu(), torch.float32),
    "to and back": converted(lambda net: net.lin.double().float(), torch.float32),
    "apply": converted(lambda net: net.apply(lambda module: module.double())),
    "_apply": converted(lambda net: net._apply(lambda tensor: tensor.double())),
    "swapping conversion": converted(convert_by_flag("swap_module_params_on_conversion")),
    "overwriting conversion": converted(convert_by_flag("overwrite_module_params_on_conversion")),
    "swapped": converted(swap, torch.float32),
    "data": converted(assign("data", lambda weight: weight.data * 2), torch.float32),
    "data in place": converted(lambda net: net.lin.weight.data.mul_(2), torch.float32),
    "data of all": converted(replace_all_data, torch.bfloat16),
    "requires_grad": converted(lambda net: net.lin.bias.requires_grad_(False), torch.float32),
    "new parameter": converted(replace_weight),
    "new parameter of its type": converted(replace_weight_by_its_type, torch.float32),
    "new layer": converted(add_layer),
    "loaded": converted(load),
    "copied": lambda net, x: copy.deepcopy(net.lin)(x),
    "copied data": lambda net, x: net.lin(copy.deepcopy(x.detach())),
    "parametrized": converted(lambda net: parametrizations.weight_norm(net.lin), torch.float32),
    "pruned": converted(lambda net: prune.random_unstructured(net.lin, "weight", 0.5), torch.float32),
    "made elsewhere": lambda net, x: nn.Linear(4, 3, device="meta").to_empty(device="cpu")(x),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_a_module_that_changes_itself_has_the_rows_of_a_run(name, backward):
    """60 products forward, and 60 more for the gradient of the weight."""
    torch.manual_seed(0)
    model, run = Net(CHANGES[name]), Net(CHANGES[name])
    before = state_of(model)
    counted = count(model, X, backward=backward)
    assert state_of(model) == before
    with OpFlopMode() as mode:
        out = run(X)
        if backward:
            out.backward(torch.ones_like(out))
    assert rows(counted) == rows(mode.profile)
    assert counted.total.macs == PRODUCTS * (1 + backward)


def test_a_module_that_changes_itself_is_counted_for_all_sizes_and_on_meta():
    """The products are 4 * 3 for each row."""
    model = Net(CHANGES["to"])
    profile = count(model, X, backward=True, dynamic_shapes=({0: torch.export.Dim("rows")},))
    assert str(profile.total.macs) == "24*rows"
    meta = Net(CHANGES["to"]).to("meta")
    assert count(meta, X.to("meta"), backward=True).total.macs == 2 * PRODUCTS
    assert meta.lin.weight.dtype == torch.float32


def test_a_module_that_changes_itself_and_fails_stays_as_it_is():
    """Nothing that the copy did reaches the model, and the error is the model's own."""

    def change(net, x):
        net.double()
        net.new = nn.Linear(4, 3)
        raise KeyError(len(x))

    model = Net(change)
    before = state_of(model)
    with pytest.raises(KeyError, match="5"):
        count(model, X)
    assert state_of(model) == before


def test_new_data_of_other_sizes_counts_with_these():
    """A layer of 7 outputs in place of 3."""

    def change(net, x):
        net.lin.weight.data, net.lin.bias.data = torch.ones(7, 4), torch.zeros(7)
        return net.lin(x)

    assert count(Net(change), X).total.macs == 5 * 4 * 7


@pytest.mark.parametrize("data", [lambda index: index + 5, lambda _: torch.tensor([6, 7])], ids=["computed", "new"])
def test_a_branch_on_new_data_is_that_of_a_run(data):
    """Values of integers are known, and ``data`` replaces them; unknown values are an error, not a guess."""

    def change(net, x):
        net.index.data = data(net.index.data)
        return net.lin(x) if int(net.index.sum()) == 13 else x

    assert count(Net(change), X).total.macs == PRODUCTS


def test_a_parameter_that_is_converted_after_its_use_still_gets_its_gradient():
    """It stays the leaf of the graph: an SGD step multiplies and adds for each of the 15 parameters."""

    def change(net, x):
        out = net.lin(x)
        net.lin.double().float()
        return out

    counted = count(Net(change), X, optimizer=torch.optim.SGD)
    assert counted.total.macs == 2 * PRODUCTS
    assert counted.by("phase")["optimizer"].flops == 2 * 15


def test_parametrizations_may_be_removed_again():
    """Two calls of 60 products."""

    def change(net, x):
        parametrize.register_parametrization(net.lin, "weight", nn.Tanh())
        out = net.lin(x)
        parametrize.remove_parametrizations(net.lin, "weight")
        return out + net.lin(x)

    assert count(Net(change), X).total.macs == 2 * PRODUCTS


def test_all_functions_of_pytorch_are_as_before_after_a_count():
    """Also after a count that failed."""
    owners = [(nn.Module, "_apply"), (nn.Parameter, "__new__"), (torch.utils, "swap_tensors")]
    inherited = [(torch.Tensor, "_make_subclass"), (torch.Tensor, "as_subclass")]
    before = [vars(owner)[name] for owner, name in owners]
    count(Net(CHANGES["to"]), X)
    with pytest.raises(RuntimeError):
        count(Net(CHANGES["to"]), torch.ones(5, 3))
    assert [vars(owner)[name] for owner, name in owners] == before
    assert not any(name in vars(owner) for owner, name in inherited)
    assert type(nn.Parameter(torch.ones(1))) is nn.Parameter


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("left", "right", "ends", "forward"),
    [
        ((16, 8), (3, 8, 24), [4, 9, 16], 16 * 8 * 24),
        ((16, 8), (3, 8, 24), [4, 4, 9], 9 * 8 * 24),
        ((3, 16, 8), (8, 24), [4, 9, 24], 16 * 8 * 24),
        ((8, 16), (16, 24), [4, 9, 16], 8 * 16 * 24),
        ((3, 16, 8), (3, 8, 24), None, 3 * 16 * 8 * 24),
    ],
    ids=["2x3", "2x3 in part", "3x2", "2x2", "3x3"],
)
def test_grouped_products_have_the_rows_of_a_run(dtype, left, right, ends, forward):
    """In every dtype of the CPU, with as many products for each gradient as forward."""
    if not hasattr(torch, "_grouped_mm"):
        pytest.skip("PyTorch has no grouped matmul")
    offsets = None if ends is None else torch.tensor(ends, dtype=torch.int32)
    inputs = [torch.ones(left, dtype=dtype, requires_grad=True), torch.ones(right, dtype=dtype, requires_grad=True)]

    def product(x, weight):
        return torch._grouped_mm(x, weight, offsets)

    for backward in (False, True):
        counted = count(product, *inputs, backward=backward)
        with OpFlopMode() as mode:
            out = product(*inputs)
            if backward:
                out.backward(torch.ones_like(out))
        assert rows(counted) == rows(mode.profile)
        assert counted.total.macs == forward * (1 + 2 * backward)


def test_a_grouped_product_that_no_device_has_is_an_error():
    """In float64, or of two dtypes."""
    if not hasattr(torch, "_grouped_mm"):
        pytest.skip("PyTorch has no grouped matmul")
    ends = torch.tensor([4, 16], dtype=torch.int32)
    for first, second in ((torch.float64, torch.float64), (torch.float32, torch.float16)):
        left, right = torch.ones(16, 8, dtype=first), torch.ones(2, 8, 24, dtype=second)
        with pytest.raises(RuntimeError):
            count(lambda x, weight: torch._grouped_mm(x, weight, ends), left, right)
