"""Changes of a model, of its inputs and of operators, each of which changes what a count of it must be.

A change is a generator: what comes before its ``yield`` prepares the state, and what comes after is the change. The
state has the model, its arguments, a call of both, and a stack of contexts that ends what a change began.
"""

import copy
import inspect
import pickle
from contextlib import ExitStack

import torch
from torch import nn

CHANGES = {}
MOVES = set()
"""The changes after which a module has another path; a block that counts it before and after uses the first one."""
OF_BLOCKS = set()
"""The changes that are for blocks which begin later: of a mode's options, and of what a block patches."""

SKIPPED = "The address of a module that was deleted is not used again."


def change(function=None, *, moves=False, of_blocks=False):
    """Register a change, under the name of its function."""
    if function is None:
        return lambda each: change(each, moves=moves, of_blocks=of_blocks)
    name = function.__name__.replace("_", " ")
    CHANGES[name] = function
    if moves:
        MOVES.add(name)
    if of_blocks:
        OF_BLOCKS.add(name)
    return function


class Scaled(nn.Linear):
    """A linear layer that scales what it returns."""

    def forward(self, x):
        return super().forward(x) * 2


class Block(nn.Module):
    """A residual block of layers that depend on the mode (train or eval), and a factory function."""

    def __init__(self):
        super().__init__()
        self.norm, self.up, self.act = nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU()
        self.down, self.drop = nn.Linear(16, 8), nn.Dropout(0.5)

    def forward(self, x):
        return x + self.drop(self.down(self.act(self.up(self.norm(x)))))


class WideBlock(Block):
    """A block that squares what it is given."""

    def forward(self, x):
        return super().forward(x * x)


class Net(nn.Module):
    """Call all children in the order in which they are registered, and then modules that are not registered."""

    def __init__(self, modules=()):
        super().__init__()
        self.embed = nn.Linear(8, 8)
        self.blocks = nn.Sequential(*[Block() for _ in range(3)])
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 8)
        self.register_buffer("scale", torch.ones(8))
        self.plain = list(modules)

    def forward(self, x):
        x = x * self.scale
        for module in [*self._modules.values(), *self.plain]:
            x = module(x)
        return x


class Wrapper(nn.Module):
    """Call a model, and double what it returns."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args):
        return self.inner(*args) * 2


class State:
    """Hold what a program consists of."""

    def __init__(self):
        torch.manual_seed(0)
        self.model, self.args = Net(), (torch.ones(4, 8),)
        self.stack, self.options, self.around = ExitStack(), {}, []

    def run(self):
        """Call the model, and run the backward of what it returned if it has one."""
        self.model.zero_grad(set_to_none=True)
        with ExitStack() as stack:
            for context in self.around:
                stack.enter_context(context())
            out = self.model(*self.args)
        if out.requires_grad:
            out.sum().backward()

    def replace(self, owner, name, value):
        """Set an attribute until the program ends."""
        before = inspect.getattr_static(owner, name)
        self.stack.callback(setattr, owner, name, before)
        setattr(owner, name, value)


def begin(name, state):
    """Prepare a change; return a function that makes it."""
    steps = CHANGES[name](state)
    next(steps)
    return lambda: next(steps, None)


@change
def nothing(_):
    yield


# Modules: replaced, added, removed, renamed, moved.


@change
def module_replaced(state):
    yield
    state.model.head = nn.Linear(8, 6)


@change
def module_of_another_class(state):
    yield
    state.model.head = Scaled(8, 8)


@change
def module_without_bias_in_the_table(state):
    yield
    state.model._modules["head"] = nn.Linear(8, 8, bias=False)


@change
def item_of_a_sequential_replaced(state):
    yield
    state.model.blocks[1] = nn.Linear(8, 8)


@change
def appended_to_a_sequential(state):
    yield
    state.model.blocks.append(Block())


@change(moves=True)
def inserted_into_a_sequential(state):
    yield
    state.model.blocks.insert(0, nn.Tanh())


@change(moves=True)
def deleted_from_a_sequential(state):
    yield
    del state.model.blocks[0]


@change
def sliced(state):
    yield
    state.model.blocks = state.model.blocks[:2]


@change
def removed(state):
    yield
    del state.model.norm


@change
def removed_and_kept(state):
    yield
    state.kept = state.model._modules.pop("norm")


@change
def added_and_not_called(state):
    yield
    state.model.head.unused = nn.Linear(8, 8)


@change
def set_to_identity(state):
    yield
    state.model.norm = nn.Identity()


@change
def added(state):
    yield
    state.model.add_module("last", nn.Softmax(-1))


@change(moves=True)
def renamed(state):
    yield
    state.model.top = state.model._modules.pop("head")


@change(moves=True)
def names_exchanged(state):
    blocks = state.model.blocks
    blocks[0] = WideBlock()
    yield
    blocks[0], blocks[2] = blocks[2], blocks[0]


@change
def order_changed(state):
    yield
    state.model._modules["embed"] = state.model._modules.pop("embed")


@change(moves=True)
def moved_to_another_parent(state):
    yield
    state.model.head = nn.Sequential(state.model.blocks[2])


@change(moves=True)
def wrapped_inside(state):
    yield
    state.model.head = Wrapper(state.model.head)


@change(moves=True)
def wrapped(state):
    yield
    state.model = Wrapper(state.model)


@change
def data_parallel(state):
    yield
    state.model = nn.DataParallel(state.model)


@change(moves=True)
def unwrapped(state):
    state.model = Wrapper(state.model)
    yield
    state.model = state.model.inner


@change(moves=True)
def part_called_alone(state):
    yield
    state.model = state.model.blocks


@change
def registered_twice(state):
    yield
    state.model.again = state.model.blocks[0]


@change(moves=True)
def first_name_removed(state):
    state.model.again = state.model.head
    yield
    del state.model.head


@change(moves=True)
def first_name_comes_later(state):
    state.model.again = state.model.embed
    yield
    state.model._modules["embed"] = state.model._modules.pop("embed")


@change(moves=True)
def plain_list_registered(state):
    state.model.plain.append(nn.Linear(8, 8))
    yield
    state.model.late = state.model.plain.pop()


@change
def plain_list_replaced(state):
    state.model.plain.append(nn.Linear(8, 8))
    yield
    state.model.plain[0] = nn.LayerNorm(8)


@change
def made_in_forward(state):
    state.model.plain.append(lambda x: nn.Linear(8, 8)(x))
    yield
    state.model.plain[0] = lambda x: Scaled(8, 8)(x)


@change(moves=True)
def in_another_model(state):
    yield
    blocks, state.model = state.model.blocks, Net()
    state.model.blocks = blocks


@change(moves=True)
def deep_copied(state):
    yield
    state.before, state.model = state.model, copy.deepcopy(state.model)


@change(moves=True)
def pickled(state):
    yield
    state.model = pickle.loads(pickle.dumps(state.model))  # noqa: S301 - made here


@change
def another_model(state):
    yield
    state.model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    state.args = (torch.ones(2, 4, 8),)


def at_an_address(addresses, module_class, *args):
    """Make a module at one of the addresses of modules that were deleted."""
    keep = []
    for _ in range(10_000):
        made = module_class.__new__(module_class)
        if id(made) in addresses:
            made.__init__(*args)
            return made
        keep.append(made)
    raise LookupError(SKIPPED)


def _delete_layers(state):
    """Return the addresses of layers that are deleted."""
    layers = state.model._modules.pop("layers")
    return {id(each) for each in layers}


@change
def another_module_at_the_same_address(state):
    state.model.layers = nn.Sequential(*[nn.Linear(8, 8) for _ in range(9)])
    yield
    state.model.other = at_an_address(_delete_layers(state), Scaled, 8, 8)


@change
def a_module_elsewhere_at_the_same_address(state):
    state.model.layers = nn.Sequential(*[nn.Linear(8, 8) for _ in range(9)])
    yield
    made = at_an_address(_delete_layers(state), nn.Linear, 8, 8)
    state.model.blocks.append(made)


@change(moves=True)
def another_model_at_the_same_address(state):
    models, run = [nn.Linear(8, 8) for _ in range(9)], state.run

    def run_all():
        for state.model in models:
            run()

    state.run = run_all
    yield
    addresses = {id(each) for each in models}
    state.model = None
    models.clear()
    models.append(at_an_address(addresses, Scaled, 8, 8))
