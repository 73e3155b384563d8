"""Changes of classes, functions and hooks of modules; see :mod:`model_changes`, where they are added."""

from contextlib import ExitStack, contextmanager

from model_changes import CHANGES, Block, Net, Scaled, WideBlock, change
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune


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
