"""Writes to views, and to tensors that have views: a count without running is that of a run, byte for byte."""

import random

import pytest
import torch
from test_memory_count import COMPARED, Program, outputs_with_gradients
from torch import nn

from opflops import OpFlopMode, count, plan
from opflops.counting.fake_call import FakeCall
from opflops.torch_internals.fake_views import VIEW_OPERATORS, view_overloads, views_known_by_strides

KEY = "ADInplaceOrView"
NOT_KNOWN_BY_STRIDES = {
    "_conj": "autograd repeats it for real tensors too, as for the next three",
    "_neg_view": "",
    "view_as_complex": "",
    "view_as_real": "",
    "detach": "its result has no gradient, as of the next two",
    "_fw_primal": "",
    "_make_dual": "",
    "narrow": "only nested tensors have it; others call slice",
    "_test_autograd_multiple_dispatch_view": "a test of PyTorch's",
    **dict.fromkeys(("_indices", "_values", "indices", "values"), "of sparse tensors, as the next four"),
    **dict.fromkeys(("col_indices", "crow_indices", "ccol_indices", "row_indices"), ""),
    **dict.fromkeys(
        ("_nested_get_values", "_nested_view_from_buffer", "_nested_view_from_jagged"), "of nested tensors"
    ),
}


def transposed(h):
    """Compute a tensor that is a transposed view of contiguous memory."""
    return (h + 1).t().contiguous().t()


VIEWS = {
    "itself": lambda h: h,
    "view": lambda h: h.reshape(-1),
    "slice": lambda h: h[:, 1:3],
    "step": lambda h: h[:, ::2],
    "select": lambda h: h[..., 0],
    "row": lambda h: h[1],
    "t": lambda h: h.t(),
    "transpose": lambda h: h.transpose(0, 1),
    "tensor_split": lambda h: h.tensor_split(3, 1)[1],
    "narrow": lambda h: h.narrow(1, 2, 3),
    "unsqueeze": lambda h: h[None],
    "squeeze": lambda h: h[:, :1].squeeze(1),
    "permute": lambda h: h.unflatten(1, (2, 4)).permute(2, 0, 1),
    "diagonal": lambda h: h.diagonal(),
    "unfold": lambda h: h.unfold(1, 2, 2),
    "as_strided": lambda h: h.as_strided((2, 3), (8, 2)),
    "expand": lambda h: h.expand(1, *h.shape),
    "detach": lambda h: h.detach(),
    "detach and slice": lambda h: h.detach()[:, 1],
    "data": lambda h: h.data,
    "dtype": lambda h: h.view(torch.float32),
    "two views": lambda h: h[:, 2:][:, ::2],
    "three views": lambda h: h.t()[1:].t()[2],
    "complex": lambda h: torch.view_as_complex(h.reshape(4, 4, 2)),
}
WRITES = {
    "relu_": lambda v: v.relu_(),
    "zero_": lambda v: v.zero_(),
    "copy": lambda v: v.__setitem__(..., torch.ones(v.shape)),
    "one column": lambda v: v.__setitem__((..., 0), 3.0),
    "every second": lambda v: v[..., ::2].add_(1),
    "index_put": lambda v: v.__setitem__(torch.tensor([0]), 3.0),
}


def costs(profile):
    return {(row.module, row.phase, row.op): (row.calls, row.cost) for row in profile.rows}


def run(model, x, **options):
    model.zero_grad()
    with OpFlopMode(**options) as m:
        out = model(x)
        starts = outputs_with_gradients(out)
        torch.autograd.backward(starts, [torch.ones_like(each) for each in starts])
        del out, starts
    return m.profile


def check_count(model, x):
    """Compare the rows and the memory of a count with those of a run."""
    counted, measured = count(model, x, backward=True, memory=True), run(model, x, memory=True)
    assert costs(counted) == costs(measured)
    assert [getattr(counted.memory, name) for name in COMPARED] == [getattr(measured.memory, name) for name in COMPARED]


def of(function):
    torch.manual_seed(0)
    return Program(function, a=nn.Linear(4, 8), b=nn.Linear(8, 3)), torch.randn(4, 4)


def writing(use, start, view, write):
    """Make a program that computes a tensor, makes a view of it, writes, and uses what is written to."""

    def forward(self, x):
        h = start(self.a(x))
        v = view(h)
        write(h if use == "the view of a written tensor" else v)
        return self.b(h), v * 3 if use != "the tensor" else self.b(self.a(x))

    return of(forward)


USES = ["the tensor", "the written view", "the view of a written tensor"]


@pytest.mark.parametrize("view", [name for name in VIEWS if name != "complex"])
def test_a_count_is_the_run(view):
    """Whichever way a view is written to, and whichever is used afterwards; contiguous tensors are the simplest."""
    tried = 0
    chosen = [("the tensor", transposed, write) for write in WRITES.values()]
    chosen += [(use, transposed, WRITES["relu_"]) for use in USES[1:]]
    chosen += [(use, lambda h: h, WRITES["zero_"]) for use in USES]
    for use, start, write in chosen:
        model, x = writing(use, start, VIEWS[view], write)
        try:
            run(model, x)
        except (RuntimeError, IndexError):  # a few writes are not for this view
            continue
        check_count(model, x)
        tried += 1
    assert tried >= (3 if view == "expand" else 8)


@pytest.mark.parametrize("write", ["zero_", "copy", "every second"])
def test_a_view_of_other_numbers_counts_as_its_run(write):
    """Of complex numbers; calls that cost nothing are not compared, since autograd repeats some of them unseen."""

    def forward(self, x):
        h = self.a(x) + 1
        WRITES[write](VIEWS["complex"](h))
        return self.b(h)

    model, x = of(forward)
    counted, measured = (
        {key: cost for key, (_, cost) in costs(profile).items() if cost.bytes}
        for profile in (count(model, x, backward=True), run(model, x))
    )
    assert counted == measured


def test_the_bytes_of_a_written_view_by_hand():
    """The gradient of a view that was written to is copied to zeros like the tensor; four-byte numbers, 2 by 3."""
    x = torch.randn(2, 3, requires_grad=True)

    def program(x):
        h = x + 1
        v = h[:, :1]
        v.mul_(2)
        return v * 3

    rows = count(program, x, backward=True).by("phase", "op")
    # Zeros for h, of which autograd knows the strides; and the gradient of v is written to two of its elements.
    assert rows["backward", "aten.new_zeros"].bytes_written == 24
    # Two elements to the zeros, all six to a tensor like h, and two back after the backward of mul_.
    copied = rows["backward", "aten.copy_"]
    assert (copied.bytes_read, copied.bytes_written) == (8 + 24 + 8, 8 + 24 + 8)
    assert ("backward", "aten.slice_backward") not in rows


def random_program(seed):
    """Make a program of some views, writes and uses in random order."""

    def forward(self, x):
        chosen = random.Random(seed)  # noqa: S311
        made = [chosen.choice([lambda: self.a(x), lambda: transposed(self.a(x)), lambda: torch.zeros(4, 8)])()]
        outputs = [self.b(self.a(x))]
        for _ in range(chosen.randrange(3, 9)):
            tensor = chosen.choice(made)
            views = [name for name in VIEWS if name != "complex"]
            step = chosen.randrange(4)
            try:
                if step == 0:
                    made.append(VIEWS[chosen.choice(views)](tensor))
                elif step == 1:
                    WRITES[chosen.choice(list(WRITES))](tensor)
                elif step == 2:
                    tensor.copy_(self.a(x)[:1, :1].expand_as(tensor))
                else:
                    outputs.append((tensor * 2).sum())
            except (RuntimeError, IndexError):  # not every view and write is for every tensor
                continue
        return (*outputs, made[0].sum())

    return of(forward)


def test_random_programs_count_as_they_run():
    """Of 80 programs, all that have gradients, most of which write to something that gradients flow through."""
    compared = 0
    for seed in range(80):
        model, x = random_program(seed)
        try:
            measured = run(model, x)
        except RuntimeError:  # what the backward needs was written to
            continue
        assert costs(count(model, x, backward=True)) == costs(measured), seed
        compared += 1
    assert compared > 40


def inplace_layers():
    return nn.Sequential(nn.Linear(4, 8), nn.Unflatten(1, (2, 4)), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2))


def test_writes_by_modules_count_as_their_run():
    """A linear layer returns a view of a product, if its input has three axes."""
    check_count(inplace_layers(), torch.randn(3, 4))
    layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5, inplace=True), nn.Linear(8, 2))
    check_count(layers, torch.randn(2, 3, 4))


def test_inputs_may_be_views():
    """A part of a tensor from before the call, that the program multiplies by a parameter."""

    def forward(self, x):
        x[:, :3].mul_(self.b.bias)
        return self.b(self.a(x))

    model, _ = of(forward)
    whole = torch.randn(2, 4, 4)
    expected = costs(run(model, whole.clone()[1]))
    assert costs(count(model, whole[1], backward=True)) == expected


def test_formulas_hold_for_writes_to_views():
    """At sizes that were not traced, they give the bytes of a run."""

    def forward(self, x):
        h = self.a(x)
        v = h.t()[2:]
        v.relu_()
        return v.sum(1), self.b(h)

    model, x = of(forward)
    rows = torch.export.Dim("rows")
    profile = count(model, x, backward=True, dynamic_shapes=(({0: rows},),))
    for size in (3, 7, 16):
        measured = run(model, torch.randn(size, 4))
        assert profile.at(rows=size).total == measured.total


def test_plans_count_writes_to_views():
    """As a rank runs them."""
    build = inplace_layers()
    planned = plan(lambda _: inplace_layers(), torch.randn(3, 4), mesh={"d": 1}, backward=True)
    assert planned.total == run(build, torch.randn(3, 4)).total


def test_programs_that_write_to_no_view_are_counted_once(monkeypatch):
    """A write to a tensor without views needs no other nodes; one to a view is found in a first count."""
    counts = []
    count_once = FakeCall._count_once
    monkeypatch.setattr(FakeCall, "_count_once", lambda *given: [counts.append(given), count_once(*given)][1])

    def forward(self, x, through_view):
        h = self.a(x)
        (h.view(-1) if through_view else h).relu_()
        return self.b(h)

    model, x = of(forward)
    for through_view in (False, True):
        counts.clear()
        count(model, x, through_view, backward=True)
        assert len(counts) == 1 + through_view
    with torch.no_grad():
        counts.clear()
        count(model, x, True)
        assert len(counts) == 1


def kernels():
    return [repr(torch.library.get_kernel(each, KEY)) for each in view_overloads()]


def test_kernels_are_pytorchs_own_outside_the_context():
    """Also after an error in the program, and inside the context views of real tensors are as they are outside."""
    before = kernels()
    model, x = of(lambda _, h: h.reshape(-1).no_such_attribute)
    with pytest.raises(AttributeError):
        count(model, x)

    def gradient():
        given = torch.arange(6.0).view(2, 3).requires_grad_()
        h = given * 2
        v = h.t()[1]
        v.mul_(5)
        (v * 3).sum().backward()
        return [type(each.grad_fn).__name__ for each in (h, v)], given.grad.tolist()

    expected = gradient()
    with views_known_by_strides():
        assert gradient() == expected
        assert kernels() != before
    assert kernels() == before
    assert expected == (["CopySlices", "AsStridedBackward0"], [[0, 30, 0], [0, 30, 0]])


def test_every_view_operator_is_known_by_strides():
    """Of all operators that return one view of their first argument; that of each is remade by ``as_strided``."""
    named = set()
    for name in torch._C._dispatch_get_all_op_names():
        if name.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(name, KEY):
            packet, _, overload = name.removeprefix("aten::").partition(".")
            schema = getattr(getattr(torch.ops.aten, packet), overload or "default")._schema
            alias = schema.returns[0].alias_info if len(schema.returns) == 1 else None
            if alias and not alias.is_write and str(schema.returns[0].type) == "Tensor":
                named.add(packet)
    assert named == {*VIEW_OPERATORS, *NOT_KNOWN_BY_STRIDES} - {"lift_fresh"}
    made = {
        "_reshape_alias": ([4], [1]), "as_strided": ([2], [1]), "diagonal": (), "expand": ([3, 2, 2],),
        "permute": ([1, 0],), "select": (0, 0), "slice": (0, 1), "squeeze": (), "transpose": (0, 1),
        "unfold": (0, 1, 1), "unsqueeze": (0,), "view": ([4],),
    }  # fmt: skip
    for name in {*VIEW_OPERATORS} - {"slice_inverse"}:
        base = torch.ones(2, 2, requires_grad=True) * 2
        view = getattr(torch.ops.aten, name)(base, *made.get(name, ()))
        base.mul_(3)
        assert type(view.grad_fn).__name__ == "AsStridedBackward0", name


def test_lists_of_views_are_as_before():
    """Autograd refuses to write to one of several views of one operator, as in a run."""

    def forward(self, x):
        self.a(x).unbind(0)[0][:2].mul_(2)
        return self.b(self.a(x))

    model, x = of(forward)
    message = "returns multiple views|multi-output|output of a function that"
    with pytest.raises(RuntimeError, match=message):
        model(x)
    with pytest.raises(RuntimeError, match=message):
        count(model, x, backward=True)
