"""Without running, ``count`` knows what a run keeps in memory, to the byte, where the same kernels run."""

import functools

import pytest
import torch
from storage_tracker import StorageTracker, state_of
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode, count
from opflops.errors import ArgumentError, DimensionError, UsageWarning
from opflops.example import GPT, SimpleCNN

COMPARED = ("peak", "at_peak", "end_of_forward", "phase_peaks", "module_peaks", "saved", "device")
CONSTANT = torch.ones(100, 100)


class Program(nn.Module):
    """Call a function with itself, with modules as attributes, and with the inputs."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def outputs_with_gradients(out):
    return [each for each in tree_leaves(out) if isinstance(each, torch.Tensor) and each.requires_grad]


def steady_step(model, inputs, optimizer):
    """Run a step whose outputs are gone before the optimizer steps."""
    out = model(*inputs)
    starts = outputs_with_gradients(out)
    torch.autograd.backward(starts, [torch.ones_like(each) for each in starts])
    del out, starts
    if optimizer is not None:
        optimizer.step()


def without_gradients(model, inputs):
    for each in (*model.parameters(), *tree_leaves(inputs)):
        each.grad = None


def run(model, inputs, optimizer):
    """Return what the second of two steps keeps in memory, and the peak of an independent tracker."""
    if optimizer is not None:
        steady_step(model, inputs, optimizer)
        without_gradients(model, inputs)
    tracker = StorageTracker(*state_of(model, *inputs, *([] if optimizer is None else [optimizer])))
    with OpFlopMode(memory=True) as m, tracker:
        steady_step(model, inputs, optimizer)
    return m.profile.memory, tracker.peak


def check_equal(model, inputs, optimizer=None):
    """Compare a count with a run, and with an independent tracker; return the peak."""
    counted = count(model, *inputs, backward=True, optimizer=optimizer, memory=True).memory
    measured, peak = run(model, inputs, None if optimizer is None else optimizer(list(trained(model))))
    assert {name: getattr(counted, name) for name in COMPARED} == {name: getattr(measured, name) for name in COMPARED}
    assert counted.at[:3] == measured.at[:3]
    assert counted.others == measured.others == ()
    assert counted.peak == sum(counted.at_peak) == peak
    return counted.peak


def trained(model):
    return (each for each in model.parameters() if each.requires_grad)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("optimizer", "peak"), [(None, 2_715_248), (torch.optim.AdamW, 3_950_984)])
def test_a_training_step_of_a_small_network(device, optimizer, peak):
    """The figures are those of independent trackers for the second of two steps; on meta they are the same."""
    with torch.device(device):
        model, x = SimpleCNN(), torch.zeros(8, 3, 32, 32)
    memory = count(model, x, backward=True, optimizer=optimizer, memory=True).memory
    assert (memory.peak, memory.device, memory.others) == (peak, device, ())
    assert memory.parameters == 617_848
    assert memory.optimizer == (0 if optimizer is None else 2 * 617_848 + 4 * len([*model.parameters()]))


@pytest.mark.exhaustive
def test_a_training_step_of_a_language_model():
    """The figures are those of independent trackers."""
    with torch.device("meta"):
        model, ids = GPT(layers=2), torch.zeros(2, 64, dtype=torch.int64)
    on_cpu = functools.partial(count, model, ids, memory=True, device="cpu")
    assert on_cpu(backward=True).memory.peak == 788_731_904
    assert on_cpu(optimizer=torch.optim.AdamW).memory.peak == 1_217_220_720
    with torch.no_grad():
        assert on_cpu().memory.peak == 240_763_392


def convolutions():
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    head = [nn.Conv2d(8, 16, 3, stride=2, groups=4), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)]
    return nn.Sequential(*body, *head), [torch.randn(4, 3, 17, 17)]


def channels_last():
    model, [x] = convolutions()
    return model.to(memory_format=torch.channels_last), [x.to(memory_format=torch.channels_last)]


def attention():
    return nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True), [torch.randn(2, 7, 32)]


def causal_attention():
    def forward(self, x):
        q, k, v = self.qkv(x).view(2, 10, 3, 4, 8).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    return Program(forward, qkv=nn.Linear(32, 96)), [torch.randn(2, 10, 32)]


def sparse_gradients():
    return nn.Sequential(nn.Embedding(30, 8, sparse=True), nn.Linear(8, 8)), [torch.randint(0, 30, (4, 5))]


def sparse_gradients_of_bags():
    return nn.EmbeddingBag(30, 8, sparse=True, mode="sum"), [torch.randint(0, 30, (4, 5))]


def recurrent(make):
    def program():
        return make(), [torch.randn(5, 3, 10)]

    return program


def tied_embedding():
    embedding, head = nn.Embedding(50, 16), nn.Linear(16, 50, bias=False)
    head.weight = embedding.weight
    return nn.Sequential(embedding, head), [torch.randint(0, 50, (3, 4))]


def parameters_of_one_storage():
    embedding, head = nn.Embedding(50, 16), nn.Linear(16, 50, bias=False)
    head.weight = nn.Parameter(embedding.weight.data)
    return nn.Sequential(embedding, head), [torch.randint(0, 50, (3, 4))]


def flat_parameters():
    layer, flat = nn.Linear(16, 8), torch.randn(16 * 8 + 8 + 100)
    layer.weight, layer.bias = nn.Parameter(flat[:128].view(8, 16)), nn.Parameter(flat[128:136])
    return layer, [torch.randn(4, 16)]


def checkpointed(*, use_reentrant):
    def program():
        def forward(self, x):
            return self.c(checkpoint(self.b, self.a(x), use_reentrant=use_reentrant))

        body = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 32))
        return Program(forward, a=nn.Linear(16, 32), b=body, c=nn.Linear(32, 8)), [torch.randn(6, 16)]

    return program


def in_place():
    def forward(self, x):
        x = self.b(self.a(x).relu_())
        x += 1
        y = x.mul_(2.0).clone()
        y[:, 0] = 0
        return y

    return Program(forward, a=nn.Linear(16, 32), b=nn.Linear(32, 8)), [torch.randn(6, 16)]


def views():
    def forward(self, x):
        x = self.a(x)
        y = x.view(2, 3, 32).transpose(1, 2).reshape(2, -1)[:, ::2]
        return y.unsqueeze(-1).expand(-1, -1, 3) * 2, x.chunk(2, -1)[0], y.sum()

    return Program(forward, a=nn.Linear(16, 32)), [torch.randn(6, 16)]


def expanded_input():
    return nn.Linear(16, 8), [torch.randn(1, 16).expand(50, 16)]


def inputs_of_one_storage():
    both = torch.randn(10, 16)
    return Program(lambda self, x, y: self.a(x) + self.a(y), a=nn.Linear(16, 8)), [both[:5], both[5:]]


def buffers_of_one_storage():
    model = Program(lambda self, x: self.a(x) * self.mask[:5, None] + self.part, a=nn.Linear(16, 8))
    model.register_buffer("mask", torch.ones(20))
    model.register_buffer("part", model.mask[:8])
    return model, [torch.randn(5, 16)]


def autocast():
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = self.norm(self.conv(x)).flatten(1)
            return functional.softmax(self.head(features), -1) + self.head(features.relu())

    return Program(forward, conv=nn.Conv2d(3, 8, 3), norm=nn.BatchNorm2d(8), head=nn.Linear(288, 5)), [
        torch.randn(2, 3, 8, 8)
    ]


def low_precision_norms():
    norms = [nn.LayerNorm(6), nn.GroupNorm(2, 8), nn.BatchNorm2d(8)]
    return nn.Sequential(*norms), [torch.randn(2, 8, 6, 6, dtype=torch.bfloat16, requires_grad=True)]


def losses():
    def forward(self, x, y):
        out = self.a(x)
        kept = [functional.mse_loss(out, y), functional.smooth_l1_loss(out, y), functional.soft_margin_loss(out, y)]
        kept += [functional.binary_cross_entropy(out.sigmoid(), y.sigmoid(), reduction="sum")]
        kept += [functional.cross_entropy(out, y.softmax(-1), label_smoothing=0.1), functional.huber_loss(out, y)]
        return sum(kept) + functional.nll_loss(out.log_softmax(-1), y.argmax(-1)) + functional.l1_loss(out, y)

    return Program(forward, a=nn.Linear(16, 10)), [torch.randn(6, 16), torch.randn(6, 10)]


def windows():
    layers = [nn.Conv2d(3, 4, 1), nn.Unfold(3, padding=1), nn.Fold((8, 8), 3, padding=1), nn.Conv2d(4, 2, 1)]
    return nn.Sequential(*layers), [torch.randn(2, 3, 8, 8)]


def bags(mode):
    def program():
        return nn.EmbeddingBag(30, 8, mode=mode), [torch.randint(0, 30, (4, 5))]

    return program


def transposed_norms():
    """The gradients that norms get are not laid out as their inputs; windows of images are then copied."""

    def forward(self, x):
        y = self.layer(self.first(x)).transpose(1, 2)
        z = self.batch(self.second(y).transpose(1, 2)).transpose(1, 2)
        return self.last(z.flatten(1))

    layers = {"first": nn.Linear(8, 8), "layer": nn.LayerNorm(8), "second": nn.Linear(6, 6), "batch": nn.BatchNorm1d(6)}
    return Program(forward, **layers, last=nn.Linear(48, 2)), [torch.randn(4, 6, 8)]


def part_of_a_tensor():
    return nn.Linear(16, 8), [torch.randn(100, 16)[:5]]


def complex_numbers():
    class Filter(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 9, dtype=torch.complex64))

        def forward(self, x):
            return torch.fft.irfft(torch.fft.rfft(x, dim=-1) * self.weight, n=16)

    return Filter(), [torch.randn(4, 8, 16)]


def frozen_layers():
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.Linear(32, 4))
    model[0].requires_grad_(requires_grad=False)
    return model, [torch.randn(6, 16)]


def numbers_and_constants():
    def forward(self, x):
        scale = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None] + torch.arange(4)[:, None]
        return self.a(x) * scale * CONSTANT[:4, :8] + torch.tensor(3.0) + sum(CONSTANT[0, :8].unbind())

    return Program(forward, a=nn.Linear(8, 8)), [torch.randn(4, 8)]


def packed_tensors():
    def forward(self, x):
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x.to(torch.bfloat16), lambda x: x.to(torch.float32)):
            return self.b(functional.silu(self.a(x)))

    return Program(forward, a=nn.Linear(8, 32), b=nn.Linear(32, 4)), [torch.randn(4, 8)]


def input_with_gradient():
    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.LayerNorm(8)), [torch.randn(4, 8, requires_grad=True)]


PROGRAMS = {
    **{each.__name__: each for each in (convolutions, channels_last, attention, causal_attention, tied_embedding)},
    **{each.__name__: each for each in (parameters_of_one_storage, flat_parameters, in_place, views, expanded_input)},
    **{each.__name__: each for each in (inputs_of_one_storage, buffers_of_one_storage, autocast, losses)},
    **{each.__name__: each for each in (low_precision_norms, complex_numbers, frozen_layers, numbers_and_constants)},
    **{each.__name__: each for each in (packed_tensors, input_with_gradient, transposed_norms, windows)},
    **{each.__name__: each for each in (sparse_gradients, sparse_gradients_of_bags)},
    "part_of_a_tensor": part_of_a_tensor,
    "lstm": recurrent(lambda: nn.LSTM(10, 20, 2, dropout=0.1)),
    "lstm_both_ways": recurrent(lambda: nn.LSTM(10, 33, batch_first=True, bidirectional=True).eval()),
    "gru": recurrent(lambda: nn.GRU(10, 20, 2, bidirectional=True)),
    "checkpoint": checkpointed(use_reentrant=False),
    "reentrant_checkpoint": checkpointed(use_reentrant=True),
    "bags_sum": bags("sum"),
    "bags_mean": bags("mean"),
    "bags_max": bags("max"),
}


@pytest.mark.filterwarnings("ignore:.*grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_count_is_the_run(name):
    """Peak, categories, moments, modules and phases are those of a run, and the peak that of an independent tracker."""
    check_equal(*PROGRAMS[name]())


@pytest.mark.parametrize(
    "name", ["convolutions", "tied_embedding", "flat_parameters", "frozen_layers", "lstm", "in_place"]
)
def test_a_count_of_a_step_is_the_run(name):
    """So it is with an optimizer, whose state exists from the beginning."""
    check_equal(*PROGRAMS[name](), torch.optim.AdamW)


@pytest.mark.parametrize(
    "name",
    [
        "expanded_input",
        "inputs_of_one_storage",
        "buffers_of_one_storage",
        "parameters_of_one_storage",
        "losses",
        "windows",
        "sparse_gradients",
        "sparse_gradients_of_bags",
    ],
)
def test_storage_is_shared_on_meta(name):
    """What shares storage, or is a part of a larger one, does so on meta too."""
    expected = check_equal(*PROGRAMS[name]())
    with torch.device("meta"):
        model, inputs = PROGRAMS[name]()
    memory = count(model, *inputs, backward=True, memory=True).memory
    assert (memory.peak, memory.device) == (expected, "meta")


OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.1),
    "momentum_foreach": functools.partial(torch.optim.SGD, momentum=0.9, foreach=True),
    "adam": torch.optim.Adam,
    "adam_foreach": functools.partial(torch.optim.Adam, foreach=True, amsgrad=True),
    "adamw_fused": functools.partial(torch.optim.AdamW, fused=True),
    "rmsprop": functools.partial(torch.optim.RMSprop, centered=True, momentum=0.9),
    "adagrad": torch.optim.Adagrad,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_step_in_the_steady_state(name):
    """The peak of a step is that of later steps, whichever way the optimizer makes them."""
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    check_equal(model, [torch.randn(6, 16)], OPTIMIZERS[name])


def test_a_step_with_sparse_gradients():
    """The optimizer adds as many rows as there are indices, on whatever device."""
    for make in (sparse_gradients, sparse_gradients_of_bags):
        expected = check_equal(*make(), torch.optim.SGD)
        with torch.device("meta"):
            model, inputs = make()
        counted = count(model, *inputs, optimizer=torch.optim.SGD, memory=True)
        assert counted.memory.peak == expected
        model, inputs = make()
        assert counted.total == count(model, *inputs, optimizer=torch.optim.SGD).total
        optimizer = torch.optim.SGD(model.parameters())
        with OpFlopMode() as m:
            steady_step(model, inputs, optimizer)
        assert counted.by("phase")["optimizer"] == m.profile.by("phase")["optimizer"]


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("make", [OPTIMIZERS["momentum"], torch.optim.Adam, torch.optim.Adagrad])
def test_an_optimizer_that_has_made_no_step_is_in_the_steady_state_too(make, steps):
    """The costs are those of its next step; the memory is that of a step with the state that steps make."""
    model, x = nn.Linear(16, 8), torch.randn(4, 16)
    optimizer = make(list(model.parameters()))
    for _ in range(steps):
        steady_step(model, [x], optimizer)
        without_gradients(model, [x])
    plain = count(model, x, optimizer=optimizer)
    counted = count(model, x, optimizer=optimizer, memory=True)
    assert (counted.rows, plain.memory) == (plain.rows, None)
    measured, peak = run(model, [x], optimizer)
    assert counted.memory.peak == measured.peak == peak
    assert counted.memory.at_peak == measured.at_peak


def test_without_gradients_nothing_is_kept():
    """Under ``torch.no_grad`` the peak is that of the run: a layer's input, output and weights."""
    model, x = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 100)), torch.randn(50, 100)
    with torch.no_grad():
        memory = count(model, x, memory=True).memory
        with OpFlopMode(memory=True) as m:
            model(x)
    assert memory.at_peak == m.profile.memory.at_peak
    assert memory.peak == 4 * (2 * (100 * 100 + 100) + 3 * 50 * 100)
    assert (memory.activations, memory.saved) == (0, {})


def test_outputs_live_until_the_optimizer_steps():
    """All outputs are alive in the backward, also those that it does not begin at, and none in the step."""

    def forward(self, x):
        return self.a(x), x.new_zeros(1000)

    model = Program(forward, a=nn.Linear(10, 10))
    memory = count(model, torch.zeros(1, 10), optimizer=torch.optim.SGD, memory=True).memory
    assert (memory.at.phase, memory.temporaries) == ("backward", 4 * (1000 + 10 + 10))
    assert memory.phase_peaks["optimizer"] == 4 * (2 * 110 + 10)


def test_memory_is_followed_only_if_asked_for():
    """Without ``memory=True`` a profile has none."""
    assert count(nn.Linear(2, 2), torch.ones(1, 2)).memory is None


def test_sizes_are_rounded_as_by_an_allocator():
    """Each storage takes multiples of 512 bytes: weight, bias, input, output, its gradient, and two gradients."""
    memory = count(nn.Linear(10, 20), torch.ones(4, 10), backward=True, memory=True, allocator="cuda").memory
    assert (memory.allocator, memory.peak) == ("cuda", 1024 + 512 + 512 + 512 + 512 + 1024 + 512)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": "yes"}, "memory must be True or False, not 'yes'"),
        ({"memory": True, "allocator": "cudnn"}, "allocator must be 'cuda'"),
        ({"memory": True, "allocator": 512}, "allocator must be 'cuda'"),
        ({"allocator": "cuda"}, "needs memory=True: count(model, x, memory=True, allocator='cuda')"),
    ],
)
def test_wrong_options_are_refused(options, words):
    """The sentence says what was given and what would be right."""
    with pytest.raises(ArgumentError) as raised:
        count(nn.Linear(2, 2), torch.ones(1, 2), **options)
    assert words in str(raised.value)


def test_a_peak_is_no_polynomial():
    """With sizes that are symbols there is one sentence, which says to count at sizes."""
    with pytest.raises(DimensionError) as raised:
        count(nn.Linear(2, 2), torch.ones(3, 2), memory=True, dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert "count at each size" in str(raised.value)
    assert "largest_size()" in str(raised.value)
    assert str(raised.value).count(". ") == 0


def test_a_model_may_take_keywords_of_these_names():
    """Whatever has the name of an option goes to the model by ``kwargs``."""
    layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    target, memory = torch.randn(1, 3, 8), torch.randn(1, 4, 8)
    with pytest.raises(ArgumentError, match="has a parameter memory too; pass that with"):
        count(layer, target, memory=memory)
    with pytest.warns(UsageWarning, match="memory is an option"), pytest.raises(TypeError):
        count(layer, target, memory=True)
    counted = count(layer, target, memory=True, kwargs={"memory": memory})
    assert counted.memory.inputs == 4 * (target.numel() + memory.numel())
    assert counted.rows == count(layer, target, memory).rows


def test_unknown_workspaces_are_named():
    """What oneDNN keeps of an LSTM in bfloat16 is not known without running, and a remark says so."""
    remarks = {
        dtype: count(nn.LSTM(4, 5).to(dtype), torch.zeros(2, 3, 4, dtype=dtype), memory=True).memory.remarks
        for dtype in (torch.float32, torch.bfloat16)
    }
    assert "aten.mkldnn_rnn_layer keeps for the backward" in " ".join(remarks[torch.bfloat16])
    assert not any("mkldnn" in remark for remark in remarks[torch.float32])


def test_the_source_is_a_line_of_the_model_and_not_of_who_counts_it():
    """In a layer of PyTorch's, in a backward or a step, no line of the program runs; counts on two lines are equal."""
    model, x = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 8)), torch.zeros(4, 8)
    first = count(model, x, backward=True, memory=True).memory
    second = count(model, x, backward=True, memory=True).memory
    assert first == second
    assert first.at.source == ""

    def wide(x):
        return (x[:, None] * torch.ones(1000, 1)).sum()

    source = count(wide, x, memory=True).memory.at.source
    line = wide.__code__.co_firstlineno + 1
    assert source == f"test_memory_count.py:{line}"


def test_sparse_tensors_without_values_are_an_estimate():
    """A count says so, and a run does not."""
    model, ids = nn.Embedding(50, 8, sparse=True), torch.tensor([1, 2, 2])
    counted = count(model, ids, backward=True, memory=True).memory
    assert [remark.split()[-1] for remark in counted.remarks] == ["estimate."]
    with OpFlopMode(memory=True) as mode:
        model(ids).sum().backward()
    assert mode.profile.memory.remarks == ()
    assert count(nn.Linear(4, 4), torch.ones(2, 4), backward=True, memory=True).memory.remarks == ()
