"""A model that needs a value says so, whatever a library between makes of the error."""

import builtins
import sys
import warnings

import pytest
import torch
from torch import nn

from opflops import ValueNeededError, count

X = torch.ones(2, 4)


class Inner(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.lin, self.wrap = nn.Linear(4, 4), wrap

    def forward(self, x):
        return self.wrap(self.lin(x))


class Net(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.inner = Inner(wrap)

    def forward(self, x):
        return self.inner(x)


def read(x):
    return int(x.sum())  # the line that needs a value


LINE = f"test_wrapped_errors.py:{read.__code__.co_firstlineno + 1}"


def raise_from(x):
    try:
        read(x)
    except RuntimeError as error:
        raise RuntimeError("The shape is wrong.") from error


def raise_in_handler(x):
    try:
        read(x)
    except RuntimeError:
        raise TypeError("The shape is wrong.")  # noqa: B904 - the case


def raise_from_none(x):
    try:
        read(x)
    except RuntimeError:
        raise LookupError("The shape is wrong.") from None


def raise_twice(x):
    try:
        raise_from(x)
    except RuntimeError:
        raise OSError("The file is wrong.")  # noqa: B904 - the case


def raise_in_cleanup(x):
    try:
        read(x)
    finally:
        {}["no such key"]


def raise_with_argument(x):
    errors = []
    try:
        read(x)
    except RuntimeError as error:
        errors.append(error)
    raise ValueError("The shape is wrong.", *errors)


def raise_group(x):
    errors = [KeyError("another")]
    try:
        read(x)
    except RuntimeError as error:
        errors.append(error)
    raise builtins.ExceptionGroup("Several tries failed.", errors)


class InBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return raise_from(gradient)


WRAPPERS = [raise_from, raise_in_handler, raise_from_none, raise_twice, raise_in_cleanup, raise_with_argument]
if sys.version_info >= (3, 11):
    WRAPPERS.append(raise_group)


@pytest.mark.parametrize("wrap", [read, *WRAPPERS], ids=lambda function: function.__name__)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_wrapped_error_names_the_operator_the_module_and_the_line_that_need_a_value(wrap, device):
    """Not those of the library's error, which is the cause of the sentence."""
    message = rf"Net needs the value of a tensor \(aten._local_scalar_dense in Net.inner \({LINE}\)\), which only"
    with pytest.raises(ValueNeededError, match=message):
        count(Net(wrap).to(device), X.to(device))


def test_a_wrapped_error_of_a_backward_is_found():
    """The autograd engine passes exceptions on."""
    with pytest.raises(ValueNeededError, match=LINE):
        count(Net(InBackward.apply), X, backward=True)


def test_a_wrapped_error_is_found_for_all_sizes():
    """With symbols for sizes."""
    with pytest.raises(ValueNeededError, match=LINE):
        count(Net(raise_from), X, dynamic_shapes=({0: torch.export.Dim("rows")},))


def to_numpy(x):
    try:
        return x.detach().numpy()
    except RuntimeError as error:
        raise RuntimeError("This array is wrong.") from error


def test_reading_elements_outside_pytorch_needs_a_value_too():
    """Without an operator to name."""
    with pytest.raises(ValueNeededError, match=r"\(the code in Net.inner \(test_wrapped_errors.py:\d+\)\)"):
        count(Net(to_numpy), X)


@pytest.mark.parametrize("whole", [False, True], ids=["function", "model"])
def test_torchscript_that_needs_a_value_says_so(whole):
    """TorchScript keeps only the message of an exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(Scripted())
    model = scripted if whole else Net(scripted)
    with pytest.raises(ValueNeededError, match=r"\(aten._local_scalar_dense in .*only a real run has"):
        count(model, X)


class Scripted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * int(x.sum().item())


def handle_then_fail(x):
    try:
        read(x)
    except RuntimeError:
        x = x + 1
    raise KeyError("a mistake of the model")


def fail(x):
    raise KeyError("a mistake of the model")


def fail_from(x):
    try:
        fail(x)
    except KeyError as error:
        raise KeyError("a mistake of the model") from error


def fail_in_torchscript(x):
    try:
        read(x)
    except RuntimeError:
        x = x + 1
    return Failing.scripted(x)


class Failing:
    """TorchScript that fails for a reason of its own."""

    scripted = None


@pytest.mark.parametrize("wrap", [fail, fail_from, handle_then_fail], ids=lambda function: function.__name__)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_error_that_has_nothing_to_do_with_values_stays_as_it_is(wrap, device):
    """Also after the model has handled one that has."""
    with pytest.raises(KeyError, match="a mistake of the model"):
        count(Net(wrap).to(device), X.to(device))


def test_an_error_of_torchscript_that_has_nothing_to_do_with_values_stays_as_it_is():
    """Although the model has handled one before that has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Failing.scripted = torch.jit.trace(lambda x: x @ torch.ones(4, 4), X, check_trace=False)
    with pytest.raises(RuntimeError, match="TorchScript interpreter") as caught:
        count(Net(lambda x: fail_in_torchscript(x[:, :3])), X)
    assert not isinstance(caught.value, ValueNeededError)


def test_a_program_that_handles_the_error_is_counted_with_a_remark():
    """It goes on without the value, and a run might not."""

    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            try:
                return x if self.first(x).sum() > 0 else -x
            except RuntimeError:
                return self.second(x)

    profile = count(Careful(), X)
    (remark,) = profile.remarks
    assert remark.startswith("The program handled the error of aten._local_scalar_dense, which needs a value")
    assert remark.split() == str(profile).split()[-len(remark.split()) :]
    assert count(nn.Linear(4, 4), X).remarks == ()
