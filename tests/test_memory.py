"""Peaks of live memory are those of an independent tracker of storages, and of PyTorch's own tracker, to the byte."""

import gc

import pytest
import torch
from storage_tracker import StorageTracker, state_of
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode
from opflops.example import GPT, SimpleCNN
from opflops.records.memory import LiveBytes, Memory, Moment, Sample


def check_laws(memory):
    """Every sample's categories sum to what is live, and the peak is the highest of them."""
    assert sum(memory.at_peak) == memory.peak
    assert all(min(sample.live) >= 0 for sample in memory.timeline)
    assert max(sample.live.total for sample in memory.timeline) == memory.peak
    assert max(memory.phase_peaks.values()) == memory.peak
    assert memory.phase_peaks[memory.at.phase] == memory.peak
    if memory.at.module:
        assert memory.module_peaks[memory.at.module] == memory.peak
    for path, peak in memory.module_peaks.items():
        above = path.rpartition(".")[0]
        assert peak <= memory.module_peaks.get(above, memory.peak)
    assert memory.end_of_forward <= memory.peak
    numbers = [sample.at.number for sample in memory.timeline]
    assert numbers == sorted(set(numbers))


def tracked(step, *objects, **options):
    """Return the memory of the second of two steps, whose peak is that of an independent tracker."""
    step()
    gc.collect()
    tracker = StorageTracker(*state_of(*objects))
    with tracker, OpFlopMode(memory=True, **options) as m:
        step()
    memory = m.profile.memory
    check_laws(memory)
    assert memory.peak == tracker.peak
    assert {each.device: each.peak for each in (memory, *memory.others)} == tracker.peaks
    return memory


class Train:
    """Make a training step: forward, backward against ones, and a step of an optimizer if there is one."""

    def __init__(self, model, inputs, optimizer=None, *, set_to_none=True):
        self.model, self.inputs, self.set_to_none = model, inputs, set_to_none
        self.optimizer = optimizer(model.parameters()) if optimizer is not None else None

    @property
    def objects(self):
        return [self.model, self.inputs, *([self.optimizer] if self.optimizer is not None else ())]

    def __call__(self):
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=self.set_to_none)
        else:
            self.model.zero_grad(set_to_none=self.set_to_none)
        self.inputs.grad = None
        out = self.model(self.inputs)
        ones = torch.ones_like(out)
        out.backward(ones)
        del out, ones
        if self.optimizer is not None:
            self.optimizer.step()


@pytest.mark.parametrize(("optimizer", "peak"), [(None, 2_715_248), (torch.optim.AdamW, 3_950_984)])
def test_a_training_step_of_a_small_network(optimizer, peak):
    """The figures are those of both independent trackers for the second of two steps."""
    train = Train(SimpleCNN(), torch.randn(8, 3, 32, 32), optimizer)
    train()
    train.model.zero_grad()
    with OpFlopMode(memory=True) as m:
        train()
    memory = m.profile.memory
    check_laws(memory)
    assert memory.peak == peak
    assert (memory.at.op, memory.at.module, memory.at.phase) == (
        "aten.threshold_backward",
        "SimpleCNN.ReLU()",
        "backward",
    )
    assert memory.at.source.startswith("test_memory.py:")
    assert memory.parameters == sum(each.nbytes for each in train.model.parameters())
    assert memory.optimizer == (0 if optimizer is None else 2 * memory.parameters + 4 * 10)
    assert memory.inputs == train.inputs.nbytes


@pytest.mark.exhaustive
@pytest.mark.parametrize(("optimizer", "peak"), [(None, 788_731_904), (torch.optim.AdamW, 1_217_220_720)])
def test_a_training_step_of_a_language_model(optimizer, peak):
    """Two layers of GPT, ids (2, 64)."""
    train = Train(GPT(layers=2), torch.zeros(2, 64, dtype=torch.int64), optimizer)
    train()
    train.model.zero_grad()
    with OpFlopMode(memory=True) as m:
        train()
    assert m.profile.memory.peak == peak


@pytest.mark.exhaustive
def test_a_forward_of_a_language_model_without_gradients():
    """Nothing is kept for a backward pass."""
    model, ids = GPT(layers=2), torch.zeros(2, 64, dtype=torch.int64)
    with torch.no_grad(), OpFlopMode(memory=True) as m:
        model(ids)
    assert m.profile.memory.peak == 240_763_392
    assert m.profile.memory.activations == 0
    assert m.profile.memory.saved_by_module() == {}


def small_gpt(**options):
    return GPT(vocabulary=50, longest=16, layers=2, width=16, heads=2, **options)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)) for _ in range(4))
        self.reentrant = reentrant

    def forward(self, x):
        x = x * 2
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return x


class SharedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(40, 8), nn.Linear(8, 40, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.embedding(ids))


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu = nn.Linear(8, 32), nn.Linear(32, 8), nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.first(x))
        z = y * 2
        z += 1
        return self.second(z).mul_(2)


class Views(nn.Module):
    """Expanded and overlapping views: storages smaller than their tensors."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 8))

    def forward(self, x):
        wide = self.scale.expand(x.shape[0], 8) * x
        windows = wide.unfold(0, 4, 1)
        overlapping = torch.as_strided(wide, (5, 8), (1, 1))
        return windows.sum((1, 2)) + wide.t()[:, ::2].reshape(-1)[: windows.shape[0]] + overlapping.sum()


class Deletes(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        big = x.repeat(50, 1)
        small = big.sum(0, keepdim=True)
        del big
        y = self.layer(small)
        del small
        return y.exp()


class Offloads(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))

    def forward(self, x):
        with torch.autograd.graph.save_on_cpu():
            return self.layers(x).exp()


class Hooks(nn.Module):
    """Saves a half of everything, in another dtype."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))

    def forward(self, x):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (t.dtype, t.half()), lambda p: p[1].to(p[0])):
            return self.layers(x).exp()


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.exp())
        ctx.extra = x + 1
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        (y,) = ctx.saved_tensors
        return gradient * y * ctx.extra


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return Double.apply(self.layer(x))


class Normalized(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.MaxPool2d(2))

    def forward(self, x):
        return self.layers(x)


MODELS = {
    "gpt": (small_gpt, lambda: torch.zeros(2, 12, dtype=torch.int64)),
    "checkpoint": (lambda: Checkpointed(reentrant=False), lambda: torch.randn(6, 8)),
    "checkpoint, reentrant": (lambda: Checkpointed(reentrant=True), lambda: torch.randn(6, 8, requires_grad=True)),
    "shared weights": (SharedWeights, lambda: torch.zeros(3, 5, dtype=torch.int64)),
    "in place": (InPlace, lambda: torch.randn(6, 8)),
    "views": (Views, lambda: torch.randn(12, 8)),
    "del": (Deletes, lambda: torch.randn(4, 8)),
    "offload": (Offloads, lambda: torch.randn(6, 8)),
    "hooks": (Hooks, lambda: torch.randn(6, 8)),
    "custom function": (Custom, lambda: torch.randn(6, 8)),
    "normalization": (Normalized, lambda: torch.randn(2, 3, 12, 12)),
    "lstm": (lambda: First(nn.LSTM(4, 6, num_layers=2)), lambda: torch.randn(5, 2, 4)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), lambda: torch.randn(2, 5, 8)),
    "sparse gradients": (lambda: nn.Embedding(20, 4), lambda: torch.tensor([[1, 2, 3], [3, 4, 5]])),
}


class First(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


@pytest.mark.parametrize("optimizer", [None, torch.optim.SGD, torch.optim.AdamW], ids=["none", "sgd", "adamw"])
@pytest.mark.parametrize("name", MODELS)
def test_a_training_step(name, optimizer):
    """Whatever makes and keeps tensors."""
    model, inputs = MODELS[name]
    train = Train(model(), inputs(), optimizer)
    train()
    memory = tracked(train, *train.objects)
    assert memory.parameters == sum(each.nbytes for each in {*train.model.parameters()})
    assert memory.gradients <= memory.parameters + (train.inputs.nbytes if train.inputs.requires_grad else 0)


@pytest.mark.parametrize("name", ["gpt", "checkpoint", "in place", "views", "custom function", "normalization"])
def test_a_training_step_is_that_of_pytorchs_own_tracker(name):
    """The total of MemTracker, which asks each storage for its size."""
    model, inputs = MODELS[name]
    train = Train(model(), inputs(), torch.optim.AdamW)
    train()
    memory = tracked(train, *train.objects)
    theirs = MemTracker()
    theirs.track_external(train.model, train.optimizer, train.inputs)
    with theirs:
        train()
    assert memory.peak == theirs.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad])
def test_gradients_are_dropped_or_set_to_zero(optimizer, set_to_none):
    """Those that are kept are there during the forward."""
    train = Train(InPlace(), torch.randn(6, 8), optimizer, set_to_none=set_to_none)
    train()
    memory = tracked(train, *train.objects)
    gradients = sum(each.nbytes for each in train.model.parameters())
    first = memory.timeline[0].live
    # None were deleted before the first operator of the step.
    assert first.gradients == (0 if set_to_none else gradients)


def test_gradients_accumulate():
    """Two backward passes before a step."""
    model, x = InPlace(), torch.randn(6, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step():
        optimizer.zero_grad()
        for _ in range(2):
            model(x).sum().backward()
        optimizer.step()

    memory = tracked(step, model, optimizer, x)
    assert memory.optimizer == memory.parameters


def test_a_closure_is_called_by_an_optimizer():
    """LBFGS keeps lists of tensors."""
    model, x = nn.Linear(4, 3), torch.randn(6, 4)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        return loss

    memory = tracked(lambda: optimizer.step(closure), model, optimizer, x)
    assert memory.optimizer > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_autocast_caches_weights(dtype):
    """Its copies of weights live until it ends."""
    train = Train(small_gpt(), torch.zeros(2, 12, dtype=torch.int64), torch.optim.SGD)

    def step():
        with torch.autocast("cpu", dtype):
            train()

    tracked(step, *train.objects)


def test_gradients_are_scaled():
    """GradScaler works with tensors of its own."""
    model, x = nn.Linear(4, 3), torch.randn(6, 4)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu")

    def step():
        optimizer.zero_grad()
        scaler.scale(model(x).sum()).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    step()
    tracked(step, model, optimizer, x, scaler._scale, scaler._growth_tracker)


def test_a_graph_is_kept_for_a_second_pass():
    """And a gradient is differentiated."""
    model, x = InPlace(), torch.randn(6, 8)

    def step():
        model.zero_grad()
        loss = model(x).square().sum()
        loss.backward(retain_graph=True)
        loss.backward()
        gradients = torch.autograd.grad(model(x).square().sum(), [*model.parameters()], create_graph=True)
        sum(each.square().sum() for each in gradients).backward()

    tracked(step, model, x)


def test_an_error_in_a_forward():
    """What the program caught leaves nothing behind."""
    model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(4, 4)), torch.randn(6, 8)

    def step():
        with pytest.raises(RuntimeError):
            model(x)
        return functional.relu(x * 2)

    tracked(step, model, x)


def test_a_generator_keeps_what_it_holds():
    """Until it goes on."""
    model, x = nn.Linear(8, 8), torch.randn(6, 8)

    def layers():
        y = x
        for _ in range(4):
            y = model(y)
            yield y.shape

    def step():
        for _ in layers():
            torch.ones(100)

    tracked(step, model, x)


def test_tensors_from_outside_are_counted_from_the_beginning_if_they_are_used():
    """Also those that are used late; others are not counted."""
    used, unused, late = torch.ones(100), torch.ones(1000), torch.ones(10)
    with OpFlopMode(memory=True) as m:
        y = used + 1
        late.add_(1)
    memory = m.profile.memory
    assert memory.peak == used.nbytes + late.nbytes + y.nbytes
    assert memory.inputs == used.nbytes + late.nbytes
    assert memory.timeline[0].live.total == memory.peak
    assert unused.sum() == 1000


def test_a_tensor_from_outside_that_is_deleted():
    """It is live until then."""
    held = [torch.ones(1000)]
    with OpFlopMode(memory=True) as m:
        y = held[0][:10] + 1
        held.clear()
        z = torch.ones(500)
    memory = m.profile.memory
    assert memory.peak == 4000 + y.nbytes
    assert memory.timeline[-1].live.total == y.nbytes + z.nbytes
    assert memory.timeline[-1].live.inputs == 0


def test_arrays_from_outside_pytorch_do_not_add_up():
    """A tensor around an array is there from its first use on."""
    numpy = pytest.importorskip("numpy")
    with OpFlopMode(memory=True) as m:
        for _ in range(20):
            torch.from_numpy(numpy.ones(100, dtype=numpy.float32)).sum()
    assert m.profile.memory.peak == 404
    assert m.profile.memory.timeline[-1].live.total == 404


def test_sizes_that_change_in_place():
    """``resize_`` and ``set_`` by operators, and storages without."""
    x = torch.ones(10)

    def step():
        y = torch.empty(0)
        y.resize_(1000)
        y.zero_()
        y.untyped_storage().resize_(0)
        y.untyped_storage().resize_(400)
        return torch.ones(200)

    with OpFlopMode(memory=True) as m:
        assert step().sum() == 200
    assert m.profile.memory.peak == 4000
    # An empty tensor on an unknown device is no sample.
    assert [sample.live.total for sample in m.profile.memory.timeline][:3] == [4000, 4000, 400 + 800]
    with OpFlopMode(memory=True) as m:
        y = x + 1
        y.set_(torch.ones(50))
    assert m.profile.memory.peak == 40 + 40 + 200


def test_results_that_a_step_leaves_behind():
    """The program's variables keep them."""
    model, x = nn.Linear(8, 8), torch.randn(6, 8)
    kept = []

    def step():
        for _ in range(5):
            kept.append(model(x).exp())
            kept.append([(model(x) * 3).detach()])

    tracked(step, model, x)


def test_the_allocator_rounds_up():
    """Each storage to a multiple of 512 bytes; empty ones stay empty."""
    with OpFlopMode(memory=True, allocator="cuda") as m:
        held = [torch.ones(1), torch.ones(128), torch.ones(129), torch.ones(0)]
    assert m.profile.memory.peak == 512 + 512 + 1024
    assert m.profile.memory.allocator == "cuda"
    assert any("workspaces" in remark for remark in m.profile.memory.remarks)
    assert len(held) == 4


def test_steps_have_the_peak_of_two_and_the_tracker_does_not_grow():
    """Its containers are as long after many steps as after a few."""
    train = Train(small_gpt(), torch.zeros(2, 12, dtype=torch.int64), torch.optim.AdamW)
    train()
    sizes = {}
    for steps in (2, 4, 12):
        with OpFlopMode(memory=True) as m:
            for _ in range(steps):
                train()
        tracker = m.memory_tracker
        (device,) = tracker.storages.devices.values()
        sizes[steps] = m.profile.memory.peak, len(tracker.storages.records), len(device.peaks), device.base
        assert len(m.profile.memory.timeline) <= 1000
        check_laws(m.profile.memory)
    assert len({*sizes.values()}) == 1, sizes


def test_categories_of_a_long_program_are_those_of_a_short_one():
    """Thinning keeps the highest sample of each stretch, with what was alive then."""
    x = torch.ones(64, requires_grad=True)

    def step(count):
        y = x
        for _ in range(count):
            y = y.exp()
        y.sum().backward()
        x.grad = None

    with OpFlopMode(memory=True) as m:
        step(3000)
    memory = m.profile.memory
    check_laws(memory)
    assert len(memory.timeline) <= 1000
    # Results of exp are kept for the backward pass; the gradients of two nodes are alive then.
    assert memory.activations == 3000 * 256
    for sample in memory.timeline:
        if sample.at.phase == "forward" and sample.at.op == "aten.exp":
            assert sample.live.activations == (sample.at.number // 2 + 1) * 256


def test_without_memory_there_is_none():
    """And the patches for it are gone after a block with it."""
    with OpFlopMode() as m:
        torch.ones(2)
    assert m.profile.memory is None


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("elements", [0, 1])
@pytest.mark.parametrize("resize", [
    lambda x, out: torch.add(x, 1, out=out),
    lambda x, out: torch.cumsum(x, 0, out=out),
    lambda x, out: torch.frexp(x, out=(out, torch.empty(0, dtype=torch.int32))),
    lambda x, out: out.resize_(1000),
    lambda x, out: out.resize_as_(x),
])  # fmt: skip
def test_what_an_operator_enlarges_has_its_size_from_then_on(resize, elements, inside, old):
    """However old the tensor is, and whether it was empty or small before."""

    def make():
        made = torch.empty(elements)
        if old:
            gc.collect()
        return made

    out = make()
    with OpFlopMode(memory=True) as m:
        if inside:
            out = make()
        x = torch.ones(1000)
        y = x + 1
        z = y + 1
        del y, z
        for _ in range(2):
            resize(x, out)
    memory = m.profile.memory
    assert memory.peak == 12000 + 4 * elements
    assert memory.timeline[0].live.inputs == (0 if inside else 4 * elements)
    assert memory.timeline[-1].live.inputs == 0


def test_what_an_operator_replaces_was_there_before():
    """``set_`` is given a tensor whose former storage nothing else has used."""
    for old in (False, True):
        x = torch.ones(10)
        if old:
            gc.collect()
        with OpFlopMode(memory=True) as m:
            x.set_(torch.ones(50))
        assert m.profile.memory.peak == 40 + 200
        assert [sample.live.total for sample in m.profile.memory.timeline] == [240, 200]


def test_it_is_printed_in_a_few_lines():
    """The peaks of all devices, what was live, and how long the timeline is, whose samples are not printed."""
    moment = Moment("Net.fc\x1b", "aten.mm", "backward", "model.py:12")
    sample = Sample(moment, LiveBytes(1))
    others = (Memory("cpu", 1), Memory("cuda:1", 1_500, Moment("", "aten.copy_", "forward")))
    live = LiveBytes(parameters=60_000, gradients=4_000, temporaries=1)
    memory = Memory("cuda:0", 64_001, moment, live, 5_120, timeline=(sample,) * 1_000, others=others)
    lines = [
        r"memory on cuda:0: peak 64,001 bytes, after aten.mm in Net.fc\x1b (backward), model.py:12",
        "live at the peak: parameters 60,000, gradients 4,000, temporaries 1",
        "end of forward: 5,120 bytes",
        "cpu: peak 1 byte",
        "cuda:1: peak 1,500 bytes, after aten.copy_ (forward)",
        "timeline: 1,000 samples",
    ]
    assert str(memory).splitlines() == lines
    assert repr(memory) == f"<{lines[0]}>"
    assert (str(Memory()), repr(Memory())) == ("memory on cpu: peak 0 bytes", "<memory on cpu: peak 0 bytes>")


def test_of_a_block_it_is_printed_short():
    """However many operators ran; also inside the profile."""
    x = torch.ones(4, 4)
    with OpFlopMode(memory=True) as mode:
        for _ in range(300):
            x = x.mul(2)
    p = mode.profile
    assert len(p.memory.timeline) > 100
    assert len(str(p.memory)) < 300
    assert "Sample(" not in repr(p)
