"""Programs that do with ``run(function, *args)`` what may happen in another thread, and the rest here."""

import torch
from test_backward import Net, X
from torch import nn
from torch.nn.functional import cross_entropy, silu
from torch.utils.checkpoint import checkpoint

TARGET = torch.tensor([0, 1])


def backward_elsewhere(run):
    """The graph is the block's own."""
    net = Net()
    for _ in range(3):
        run(net(X).sum().backward)


def forward_elsewhere(run):
    """And the loss is the block's own."""
    net = Net()
    net(X)
    (run(net, X).sum() + run(net, X).square().sum()).backward()


def both_in_two_threads(run):
    """Neither thread is the block's."""
    net = Net()
    run(run(net, X).sum().backward)


def both_in_one_thread(run):
    """With a loss, outside any module; in a process in which the block's thread made such nodes before."""
    net = nn.Sequential(Net(), Net())
    loss = nn.CrossEntropyLoss()
    net(X).sum().backward()

    def train():
        for _ in range(2):
            loss(net(X), TARGET).backward()

    run(train)


def several_models(run):
    """Each thread begins with the same numbers, in other modules."""
    first, second = Net(), nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4))
    outputs = [run(first, X), run(second, X), first(X), run(second, X), run(nn.Linear(4, 4), X)]
    sum(each.sum() for each in outputs).backward()


def a_loss_that_is_no_module(run):
    """The block's thread made modules' nodes of the same numbers."""
    net = nn.Sequential(Net(), Net())
    net(net(X))
    loss = run(lambda: net(X).square().mul(3.0).sum())
    run(loss.backward)
    run(lambda: net(X).square().mul(3.0).sum().backward())
    run(lambda: net(X).square().mul(3.0).sum()).backward()


def a_program_without_modules(run):
    """It takes a result of a module of the block's thread, which made nodes of the same numbers."""
    net, weight = Net(), nn.Parameter(torch.ones(4, 4))
    output = net(net(X))
    run(lambda: (output @ weight).square().sum().backward())


class Backward(nn.Module):
    def forward(self, loss):
        loss.backward()


def a_backward_inside_a_module(run):
    """Of a graph that was made outside."""
    run(Backward(), Net()(X).sum())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(silu(self.layer(x)))


def called_twice(run):
    """The calls of one module are told apart."""
    model, x = Twice(), X.clone().requires_grad_()
    run(model, x).sum().backward()
    run(model(x).sum().backward)


class Branches(nn.Module):
    """Run two branches elsewhere, and join them here; the second gets what the first returned."""

    def __init__(self, run):
        super().__init__()
        self.first, self.second, self.last = Net(), Net(), nn.Linear(4, 4)
        self.run = run

    def forward(self, x):
        first = self.run(self.first, silu(x))
        second = self.run(self.second, first)
        return self.last(silu(first * second))


def inside_a_module(run):
    """The module that joins them runs in the block's thread."""
    model = Branches(run)
    for _ in range(2):
        model(X.clone().requires_grad_()).sum().backward()


def a_chain_of_threads(run):
    """Each one gets what the one before returned, so that the numbers of one graph repeat themselves."""
    nets = [Net(), Net(), Net()]
    x = X
    for net in nets:
        x = run(net, x)
    run(x.sum().backward)


def gradients_of_gradients(run):
    """The first pass makes the nodes of the second one."""
    net = Net()
    x = X.clone().requires_grad_()

    def penalty():
        (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        gradient.square().sum().backward()

    run(penalty)


def recomputed(reentrant):
    """A forward is recomputed in the thread of the backward."""

    def program(run):
        net, x = nn.Sequential(Net(), Net()), X.clone().requires_grad_()

        def forward():
            return checkpoint(net[1], checkpoint(net[0], x, use_reentrant=reentrant), use_reentrant=reentrant)

        net(net(X))
        run(forward().sum().backward)
        run(lambda: forward().sum().backward())
        run(lambda: net(forward()).sum().backward())

    program.__name__ = f"recomputed_{'' if reentrant else 'non'}reentrant"
    return program


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


class WithFunction(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return {"outputs": (Doubled.apply(self.net(x)),)}


def functions_of_the_program(run):
    """In a container."""
    model = WithFunction()
    run(model, X)["outputs"][0].sum().backward()


def replicas(run):
    """Their parameters are results of the block's thread, as those of DataParallel are, and its loss is too."""
    net = Net()
    for _ in range(2):
        copies = [{name: each * 1 for name, each in net.named_parameters()} for _ in range(2)]
        outputs = [run(torch.func.functional_call, net, each, (X,)) for each in copies]
        cross_entropy(torch.cat(outputs), TARGET.repeat(2)).backward()


def training(optimizer_class, **options):
    """Whole steps, without a loss that is no module."""

    def program(run):
        net, loss = Net(), nn.MSELoss()
        optimizer = optimizer_class(net.parameters(), **options)

        def step():
            optimizer.zero_grad()
            loss(net(X), X).backward()
            optimizer.step()

        def closure():
            optimizer.zero_grad()
            value = loss(net(X), X)
            value.backward()
            return value

        for _ in range(2):
            run(optimizer.step, closure) if optimizer_class is torch.optim.LBFGS else run(step)

    program.__name__ = f"training_{optimizer_class.__name__}_{'_'.join(options)}"
    return program


PROGRAMS = [
    backward_elsewhere,
    forward_elsewhere,
    both_in_two_threads,
    both_in_one_thread,
    several_models,
    a_loss_that_is_no_module,
    a_program_without_modules,
    a_backward_inside_a_module,
    called_twice,
    inside_a_module,
    a_chain_of_threads,
    gradients_of_gradients,
    recomputed(reentrant=False),
    recomputed(reentrant=True),
    functions_of_the_program,
    replicas,
    training(torch.optim.SGD, lr=0.1),
    training(torch.optim.AdamW, fused=True),
    training(torch.optim.AdamW, foreach=False),
    training(torch.optim.LBFGS, max_iter=3),
]
