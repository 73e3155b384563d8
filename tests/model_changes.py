"""Changes of a model, of its inputs and of operators, each of which changes what a count of it must be.

A change is a generator: what comes before its ``yield`` prepares the state, and what comes after is the change. The
state has the model, its arguments, a call of both, and a stack of contexts that ends what a change began.
"""

import copy
import inspect
import pickle
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

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


def at_the_address(address, module_class, *args):
    """Make a module at the address of one that was deleted."""
    keep = []
    for _ in range(10_000):
        made = module_class.__new__(module_class)
        if id(made) == address:
            made.__init__(*args)
            return made
        keep.append(made)
    raise LookupError(SKIPPED)


@change
def another_module_at_the_same_address(state):
    yield
    address = id(state.model._modules.pop("head"))
    state.model.head = at_the_address(address, Scaled, 8, 8)


@change
def a_module_elsewhere_at_the_same_address(state):
    yield
    address = id(state.model._modules.pop("head"))
    made = at_the_address(address, nn.Linear, 8, 8)
    state.model.blocks.append(made)


@change(moves=True)
def another_model_at_the_same_address(state):
    yield
    address, state.model = id(state.model), None
    state.model = at_the_address(address, Net, [nn.Tanh()])


# Classes and functions of modules.


@change
def class_changed(state):
    yield
    state.model.head.__class__ = Scaled


@change
def class_of_a_block_changed(state):
    yield
    state.model.blocks[1].__class__ = WideBlock


@change(moves=True)
def class_of_the_model_changed(state):
    yield
    state.model.__class__ = type("OtherNet", (Net,), {"forward": lambda self, x: Net.forward(self, x) + x})


@change(moves=True)
def class_renamed(state):
    yield
    state.stack.callback(setattr, Block, "__name__", "Block")
    Block.__name__ = "OtherBlock"


@change
def forward_of_an_instance(state):
    yield
    block = state.model.blocks[0]
    block.forward = lambda x: block.down(block.up(x))


@change
def forward_of_a_class(state):
    yield
    state.replace(Block, "forward", lambda self, x: self.down(self.up(x)))


@change
def call_of_a_class(state):
    yield
    Block.__call__ = lambda self, x: nn.Module.__call__(self, x) * 3
    state.stack.callback(delattr, Block, "__call__")


@change(of_blocks=True)
def call_of_all_modules(state):
    yield
    original = nn.Module.__call__
    state.replace(nn.Module, "__call__", lambda self, *args: original(self, *args) * 3)


@change
def evaluation(state):
    yield
    state.model.eval()


@change
def training(state):
    state.model.eval()
    yield
    state.model.train()


@change
def evaluation_of_one_block(state):
    yield
    state.model.blocks[1].eval()


@change
def attribute_of_a_module(state):
    yield
    state.model.blocks[0].act.approximate = "tanh"


def add_hook(register, hook):
    @contextmanager
    def added():
        handle = register(hook)
        try:
            yield
        finally:
            handle.remove()

    return added()


HOOKS = {
    "forward hook": lambda model: add_hook(model.head.register_forward_hook, lambda *args: args[-1] * 2),
    "forward pre hook": lambda model: add_hook(model.head.register_forward_pre_hook, lambda _, args: (args[0] * 2,)),
    "backward hook": lambda model: add_hook(
        model.head.register_full_backward_hook, lambda _, given, __: (given[0] * 2,)
    ),
    "hook of a parameter": lambda model: add_hook(model.head.weight.register_hook, lambda grad: grad * 2),
    "hook of all modules": lambda _: add_hook(
        nn.modules.module.register_module_forward_hook, lambda *args: args[-1] * 2
    ),
}


def _hooks(name, use):
    def hook_added(state):
        yield
        state.stack.enter_context(use(state.model))

    def hook_removed(state):
        hooked = state.stack.enter_context(ExitStack())
        hooked.enter_context(use(state.model))
        yield
        hooked.close()

    CHANGES[f"{name} added"], CHANGES[f"{name} removed"] = hook_added, hook_removed


for _name, _use in HOOKS.items():
    _hooks(_name, _use)


@change(moves=True)
def parametrization_registered(state):
    yield
    parametrize.register_parametrization(state.model.head, "weight", nn.Tanh())


@change
def parametrization_removed(state):
    parametrize.register_parametrization(state.model.head, "weight", nn.Tanh())
    yield
    parametrize.remove_parametrizations(state.model.head, "weight", leave_parametrized=False)


@change(moves=True)
def parametrized_twice(state):
    parametrize.register_parametrization(state.model.head, "weight", nn.Tanh())
    yield
    parametrize.register_parametrization(state.model.head, "weight", nn.Softplus())


@change(moves=True)
def weight_norm(state):
    yield
    parametrizations.weight_norm(state.model.head)


@change
def pruned(state):
    yield
    prune.l1_unstructured(state.model.head, "weight", 0.5)


@change
def pruning_removed(state):
    prune.l1_unstructured(state.model.head, "weight", 0.5)
    yield
    prune.remove(state.model.head, "weight")
