"""One optimizer costs the same in each of its forms: a loop over tensors, operators on lists, one fused operator."""

import pytest
import torch
from counted import cost_of
from torch import optim

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten

SHAPES = [(3, 4), (5,)]  # 17 elements
FORMS = [{"foreach": False}, {"foreach": True}, {"fused": True}]

OPTIMIZERS = [
    (optim.SGD, {}),
    (optim.SGD, {"momentum": 0.9}),
    (optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
    (optim.SGD, {"momentum": 0.9, "dampening": 1.0}),
    (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (optim.SGD, {"momentum": 1, "nesterov": True}),
    (optim.Adam, {}),
    (optim.Adam, {"amsgrad": True}),
    (optim.AdamW, {}),
    (optim.AdamW, {"amsgrad": True}),
    (optim.Adagrad, {}),
    (optim.Adagrad, {"lr_decay": 0.1}),
]


def parameters(device="cpu"):
    drawn = [torch.randn(shape, device=device, requires_grad=True) for shape in SHAPES]
    for parameter in drawn:
        parameter.grad = torch.randn(parameter.shape, device=device)
    return drawn


def steps(optimizer_class, count, **options):
    """Count some first steps of an optimizer, without bytes."""
    optimizer = optimizer_class(parameters(), **options)
    return cost_of(lambda: [optimizer.step() for _ in range(count)])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("weight_decay", [0, 0.1, 1])
@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS)
def test_forms_cost_the_same(optimizer_class, options, weight_decay, maximize, count):
    """Loop, lists and fused operator agree, over a first step and over two."""
    options = {**options, "weight_decay": weight_decay, "maximize": maximize}
    loop, lists, fused = (steps(optimizer_class, count, **options, **form) for form in FORMS)
    assert loop.ops > 0
    assert loop == lists == fused


@pytest.mark.parametrize(
    ("optimizer_class", "options", "excess"),
    [
        # For each of two parameters the loop negates the learning rate, which the kernels take as it is.
        (optim.SGD, {}, 2),
        # Adam also divides it by the first bias correction.
        (optim.Adam, {}, 4),
        # Weight decay takes 1 - lr * weight_decay, two operations more for each.
        (optim.AdamW, {"weight_decay": 0.1}, 8),
        (optim.AdamW, {"weight_decay": 0}, 4),
        (optim.Adagrad, {}, 4),
    ],
)
def test_a_learning_rate_in_a_tensor(optimizer_class, options, excess):
    """Arithmetic on a learning rate is counted only where operators do it: a few operations for each parameter."""
    fused = steps(optimizer_class, 1, **options, lr=torch.tensor(0.1), fused=True)
    assert fused == steps(optimizer_class, 1, **options, lr=0.1, fused=True)
    loop = steps(optimizer_class, 1, **options, lr=torch.tensor(0.1), foreach=False)
    assert loop == fused + Cost(ops=excess)


@pytest.mark.parametrize(
    ("optimizer_class", "options", "ops", "transcendentals"),
    [
        (optim.SGD, {}, 2, 0),
        (optim.SGD, {"momentum": 0.9}, 4, 0),
        (optim.SGD, {"momentum": 0.9, "dampening": 0.5}, 5, 0),
        (optim.SGD, {"momentum": 0.9, "nesterov": True}, 6, 0),
        (optim.SGD, {"weight_decay": 0.1}, 4, 0),
        (optim.SGD, {"maximize": True}, 3, 0),
        (optim.Adam, {}, 12, 1),
        (optim.Adam, {"amsgrad": True}, 13, 1),
        (optim.Adam, {"weight_decay": 0.1}, 14, 1),
        (optim.AdamW, {"weight_decay": 0.1}, 13, 1),
        (optim.AdamW, {"weight_decay": 0}, 12, 1),
        (optim.Adagrad, {}, 6, 1),
    ],
)
def test_operations_for_an_element(optimizer_class, options, ops, transcendentals):
    """A later step of the fused operators, by hand, for each of 17 elements."""
    optimizer = optimizer_class(parameters(), fused=True, **options)
    optimizer.step()
    op = f"aten._fused_{optimizer_class.__name__.lower()}_"
    assert cost_of(optimizer.step, op=op) == Cost(ops=17 * ops, transcendentals=17 * transcendentals)


@pytest.mark.parametrize(
    ("optimizer_class", "options", "read", "written"),
    [
        (optim.SGD, {}, 2, 1),
        (optim.SGD, {"momentum": 0.9}, 3, 2),
        (optim.Adam, {}, 4, 3),
        (optim.Adam, {"amsgrad": True}, 5, 4),
        (optim.AdamW, {}, 4, 3),
        (optim.Adagrad, {}, 3, 2),
    ],
)
def test_traffic(optimizer_class, options, read, written):
    """A fused step reads gradients and writes all else; where there are steps, it reads one for each parameter."""
    optimizer = optimizer_class(parameters(), fused=True, **options)
    optimizer.step()
    with OpFlopMode(strict=True) as mode:
        optimizer.step()
    cost = mode.profile.by("op")[f"aten._fused_{optimizer_class.__name__.lower()}_"]
    counts_steps = 0 if optimizer_class is optim.SGD else 2
    assert cost.bytes_read == 4 * (17 * read + counts_steps)
    assert cost.bytes_written == 4 * 17 * written


def scaled_step(found_inf, optimizer_class=optim.Adam, device="cpu"):
    """Make the arguments of a fused step on gradients that still carry their scale."""
    name = optimizer_class.__name__.lower()
    own = {
        "sgd": (1, False, {"momentum": 0.9, "dampening": 0, "nesterov": False, "is_first_step": False}),
        "adam": (3, True, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "amsgrad": True}),
        "adamw": (3, True, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "amsgrad": True}),
        "adagrad": (1, True, {"lr_decay": 0, "eps": 1e-8}),
    }
    states, counts_steps, options = own[name]
    lists = [[torch.ones(shape, device=device) for shape in SHAPES] for _ in range(2 + states)]
    if counts_steps:
        lists.append([torch.ones((), device=device) for _ in SHAPES])
    options = {**options, "lr": 0.1, "weight_decay": 0, "maximize": False}
    scale = {"grad_scale": torch.full((), 2.0, device=device), "found_inf": found_inf}
    return getattr(aten, f"_fused_{name}_").default, lists, {**options, **scale}


@pytest.mark.parametrize(
    ("optimizer_class", "ops"), [(optim.SGD, 4), (optim.Adam, 13), (optim.AdamW, 13), (optim.Adagrad, 6)]
)
def test_scaled_gradients(optimizer_class, ops):
    """A scale divides each gradient, which is then written; a gradient that is not finite leaves the step out."""
    step, lists, options = scaled_step(torch.zeros(()), optimizer_class)
    assert cost_of(lambda: step(*lists, **options)).ops == 17 * (ops + 1)
    with OpFlopMode(strict=True) as mode:
        step(*lists, **options)
    # All lists but the steps.
    full = sum(tensors[0].dim() > 0 for tensors in lists)
    assert mode.total.bytes_written == 4 * 17 * full
    step, lists, options = scaled_step(torch.ones(()), optimizer_class)
    assert cost_of(lambda: step(*lists, **options)) == Cost()
    torch.testing.assert_close(lists[0], [torch.ones(shape) for shape in SHAPES])


def test_whether_a_step_is_left_out_may_be_unknown():
    """On tensors without values a scaled step counts in full, and says that it is an estimate."""
    step, lists, options = scaled_step(torch.empty((), device="meta"), device="meta")
    cost, _, reason = registry.resolve(step, {"causal": "dense"}).charge(None, lists, options)
    assert (cost.ops, cost.transcendentals) == (17 * 14, 17)
    assert "skipped" in reason


def test_first_step_with_momentum():
    """The first step only copies gradients into the momentum."""
    assert steps(optim.SGD, 1, momentum=0.9, dampening=0.5, fused=True) == Cost(ops=17 * 2)


def test_unscaling_gradients():
    """Each gradient is measured, compared with infinity and multiplied; a later scale takes four operations."""
    gradients = [torch.ones(shape) for shape in SHAPES]
    found_inf, scale = torch.zeros(()), torch.full((), 0.5)
    unscale = torch._amp_foreach_non_finite_check_and_unscale_
    assert cost_of(unscale, gradients, found_inf, scale) == Cost(ops=17 * 3)
    torch.testing.assert_close(gradients, [torch.full(shape, 0.5) for shape in SHAPES])
    tracker = torch.zeros((), dtype=torch.int32)
    assert cost_of(torch._amp_update_scale_, scale, tracker, found_inf, 2.0, 0.5, 10) == Cost(ops=4)


@pytest.mark.parametrize("form", FORMS)
def test_training_with_scaled_gradients(form):
    """A loop with a gradient scaler has no unpriced operator, and a scale changes by one row a step."""
    model = torch.nn.Linear(4, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1, **form)
    scaler = torch.amp.GradScaler("cpu")
    with OpFlopMode(strict=True) as mode:
        for _ in range(2):
            scaler.scale(model(torch.ones(2, 4)).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
    priced = mode.profile.by("op")
    assert priced["aten._amp_update_scale_"].ops == 2 * 4
    # 15 parameters; the fused form unscales by itself, here through the same operator with a scale of 1.
    assert priced["aten._amp_foreach_non_finite_check_and_unscale_"].ops == 2 * 15 * 3
