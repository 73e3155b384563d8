"""Fake tensors that are made in one step are those that PyTorch makes, and say at once where they are."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import sympy
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import Dim

from opflops import OpFlopMode, count
from opflops.torch_internals.fake_construction import FakeTensorMaker, unknown_like
from opflops.torch_internals.fake_tensors import fake_copies

if TYPE_CHECKING:
    from collections.abc import Callable

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("strides", [(3, 1), (1, 2), (0, 1)])
def test_a_fake_tensor_made_in_one_step_is_that_of_pytorch(dtype: torch.dtype, strides: tuple[int, int]) -> None:
    """It has the same attributes, dispatch keys and metadata, and warns alike if its address is asked for."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    maker = FakeTensorMaker(mode)
    # Each has a storage of its own, to which the warning belongs.
    elements = [torch.empty_strided((2, 3), strides, dtype=dtype, device=META) for _ in range(3)]
    expected = FakeTensor(mode, elements[0], CPU)
    for element, made in [(each, maker.make(each, CPU)) for each in elements[1:]]:
        assert type(made) is FakeTensor
        assert vars(made) == vars(expected)
        assert torch._C._dispatch_keys(made) == torch._C._dispatch_keys(expected)
        assert (made.shape, made.stride(), made.dtype, made.device) == ((2, 3), strides, dtype, CPU)
        assert made.untyped_storage()._cdata == element.untyped_storage()._cdata
        messages = []
        for each in (made, expected):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                torch.set_warn_always(True)
                each.data_ptr()
                torch.set_warn_always(False)
            messages.append([str(each.message) for each in caught])
        assert messages[0] == messages[1] != []


def test_attributes_of_one_fake_tensor_are_not_those_of_the_next() -> None:
    """What a program sets on one does not show on another."""
    maker = FakeTensorMaker(FakeTensorMode(allow_non_fake_inputs=True))
    element = torch.empty(2, device=META)
    for _ in range(3):
        made: Any = maker.make(element, CPU)
        assert not hasattr(made, "note")
        made.note = 1


def test_unknown_tensors_have_the_metadata_of_their_originals() -> None:
    """Of parameters, buffers, frozen parameters and expanded tensors on meta; ties between views are given up."""
    originals = [
        nn.Parameter(torch.empty(4, 3, device=META)),
        nn.Parameter(torch.empty(2, dtype=torch.bfloat16, device=META), requires_grad=False),
        torch.empty(4, 3, device=META).t(),
        torch.empty(1, 3, device=META).expand(5, 3),
        torch.empty(2, dtype=torch.int64, device=META),
        torch.empty(2, device=META, requires_grad=True),
        torch.empty(2, dtype=torch.complex64, device=META).conj(),
    ]
    with FakeTensorMode(allow_non_fake_inputs=True):
        made = unknown_like(originals, CPU)
    assert len(made) == len(originals)
    for original in originals:
        copy = made[id(original)]
        assert type(copy) is FakeTensor
        assert copy.device == CPU
        assert (copy.shape, copy.stride(), copy.dtype) == (original.shape, original.stride(), original.dtype)
        assert copy.requires_grad == original.requires_grad
        assert copy.is_leaf
        assert isinstance(copy, nn.Parameter) == isinstance(original, nn.Parameter)


def test_questions_for_devices_are_no_operators_of_a_fake_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autograd asks for the device of each gradient several times; the mode answers in place of dispatching them."""
    # Modules that are imported late would keep the replacement.
    count(nn.Linear(3, 3), torch.zeros(2, 3))
    seen: Counter[str] = Counter()
    original = OpFlopMode.__torch_dispatch__

    def dispatch(mode: Any, func: Any, *rest: Any) -> Any:
        seen[str(func)] += 1
        return original(mode, func, *rest)

    monkeypatch.setattr(OpFlopMode, "__torch_dispatch__", dispatch)
    net = nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)])
    batch = sympy.Symbol("batch")
    profile = count(net, torch.zeros(2, 3), backward=True, dynamic_shapes=({0: Dim("batch")},))
    # Of four products of each kind, the first layer has no gradient of its input.
    assert profile.total.macs == (4 + 4 + 3) * 9 * batch
    # Only the first of the three counts with numbers, which records the order of execution, sees the questions.
    assert seen["prim.device.default"] < 4 * seen["aten.mm.default"]


def test_devices_are_those_of_the_tensors_in_a_fake_count() -> None:
    """A program that branches on devices takes the branch of a real run, forward and backward."""
    found: list[str] = []

    class Noting(torch.autograd.Function):
        @staticmethod
        def forward(_context: Any, x: Tensor) -> Tensor:
            found.append(x.device.type)
            return x * 2

        @staticmethod
        def backward(_context: Any, gradient: Tensor) -> Tensor:
            found.append(gradient.device.type)
            return gradient * 2

    x = torch.zeros(2, 3, device=META, requires_grad=True)
    count(lambda x: Noting.apply(x), x, backward=True, device="cpu", dynamic_shapes=({0: Dim("batch")},))
    assert set(found) == {"cpu"}


def _in_inference_mode(tensor: Tensor) -> Tensor:
    with torch.inference_mode():
        return tensor.clone()


def _with_gradient(tensor: Tensor) -> Tensor:
    tensor = tensor.clone().requires_grad_()
    tensor.sum().backward()
    return tensor


@pytest.mark.parametrize(
    "make",
    [
        torch.clone,
        lambda x: torch.empty(0).set_(x),
        torch.detach,
        lambda x: x.view(3, 4),
        lambda x: x[1:],
        lambda x: x.t(),
        lambda x: x[:1].expand(4, 3),
        lambda x: x.clone().requires_grad_(),
        lambda x: x.clone().requires_grad_() * 2,
        _with_gradient,
        _in_inference_mode,
        lambda x: nn.Parameter(x),
        lambda x: nn.Buffer(x.clone()),
        lambda x: x.long(),
        lambda x: x.to(torch.complex64).conj(),
        lambda x: x.new_empty(0),
        lambda _: torch.tensor(3),
    ],
)
def test_copies_of_buffers_are_like_the_originals(make: Callable[[Tensor], Tensor]) -> None:
    """In sizes, strides and class, in what they share and whether they are leaves; a gradient is copied with them."""
    first = torch.ones(4, 3)
    originals = first, make(first)
    with fake_copies(originals) as copies:
        for original, copy in zip(originals, copies, strict=True):
            for facts in (
                lambda x: (x.shape, x.stride(), x.storage_offset(), x.dtype, x.device, x.requires_grad),
                lambda x: (
                    isinstance(x, nn.Parameter),
                    isinstance(x, nn.Buffer),
                    x.is_conj(),
                    x.is_leaf and x._is_view(),
                ),
                lambda x: x.untyped_storage().nbytes(),
            ):
                assert facts(copy) == facts(original)
            # The call begins without a graph, and a parameter without a gradient.
            assert copy.is_leaf
            has_gradient = original.is_leaf and original.grad is not None and not isinstance(original, nn.Parameter)
            assert (copy.grad is not None) is has_gradient
        shared, kept = ((a.untyped_storage()._cdata == b.untyped_storage()._cdata) for a, b in (originals, copies))
    assert shared is kept
