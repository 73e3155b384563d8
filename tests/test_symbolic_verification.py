"""What a symbolic count compares and lets pass: the example's own sizes, bits, interruptions, time limits."""

import contextlib
import ctypes
import gc
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sympy
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional

from opflops import DimensionError, OpflopsError, Profile, ProfileError, TimeLimitError, count
from opflops.pricing.registry import Registry
from opflops.pricing.traffic import scattered_bytes
from opflops.records.algebra import Substitution, antialias_taps, functions, substitute
from opflops.records.code_generation import compile_expressions
from opflops.torch_internals.storages import storage_of
from opflops.torch_internals.symbolic_shapes import RecordingShapeEnv

B, S = Dim("batch"), Dim("seq")


def test_a_program_that_is_another_one_at_the_examples_size_has_a_case_there():
    """By hand: 7 * 3 exponentials at 7, one addition for each element elsewhere; the report says so."""

    def hides(x):
        return x.exp() if str(x.shape[0]) == "7" else x + 1

    profile = count(hides, torch.ones(7, 3), dynamic_shapes=({0: B},))
    assert profile.total.ops == 3 * sympy.Symbol("batch")
    assert profile.at(batch=7).total == profile.lambdify()(batch=7) == count(hides, torch.ones(7, 3)).total
    assert (profile.at(batch=7).total.ops, profile.at(batch=7).total.transcendentals) == (0, 21)
    assert profile.at(batch=8).total.ops == 24
    assert Profile.from_json(profile.to_json()).at(batch=7) == profile.at(batch=7)
    assert "For batch = 7 the costs differ; see profile.at(batch=7)" in " ".join(str(profile).split())


def test_a_program_that_hides_a_range_of_sizes_is_refused():
    """It exponentiates for sizes of one digit alone, which symbols do not show: no case for 6 is enough."""
    with pytest.raises(DimensionError, match=r"cannot be counted for all sizes: with batch = 5 aten\.exp runs 1 times"):
        count(lambda x: x.exp() if len(f"{x.shape[0]}") == 1 else x, torch.ones(6, 3), dynamic_shapes=({0: B},))


@pytest.mark.parametrize("special", [lambda b, s: s == "5", lambda b, s: (b, s) == ("4", "5"), lambda b, s: b == "4"])
def test_the_case_is_of_the_dimensions_that_make_the_difference(special):
    """Of one dimension for all sizes of the other, or of both together."""

    def hides(x):
        rows, columns = map(str, x.shape)
        return x.exp() if special(rows, columns) else x.t().contiguous()

    profile = count(hides, torch.ones(4, 5), dynamic_shapes=({0: B, 1: S},))
    for rows in (1, 3, 4, 9):
        for columns in (1, 5, 6):
            assert profile.at(batch=rows, seq=columns).total == count(hides, torch.ones(rows, columns)).total


def test_an_example_of_one_is_compared_too():
    """Also where a size of 1 alone makes no difference."""

    def hides(x):
        return x.exp() if tuple(map(str, x.shape)) == ("1", "5") else x + 1

    profile = count(hides, torch.ones(1, 5), dynamic_shapes=({0: B, 1: S},))
    for rows in (1, 2):
        for columns in (1, 5, 6):
            assert profile.at(batch=rows, seq=columns).total == count(hides, torch.ones(rows, columns)).total


def test_a_program_that_fails_at_the_examples_size_alone_is_excluded_there():
    """The condition quotes the error."""

    def fails(x):
        if str(x.shape[0]) == "7":
            raise ValueError(x)
        return x + 1

    profile = count(fails, torch.ones(7, 3), dynamic_shapes=({0: B},))
    assert profile.at(batch=6).total.ops == 18
    with pytest.raises(ProfileError, match=r"hold for batch != 7 \(it fails \(ValueError"):
        profile.at(batch=7)


@pytest.mark.parametrize(
    ("size", "plain"),
    [
        (lambda n: n & ~3, lambda n: n - n % 4),
        (lambda n: n | 6, lambda n: n - n % 8 + (7 if n % 2 else 6)),
        (lambda n: n ^ 1, lambda n: n - 1 if n % 2 else n + 1),
        (lambda n: (n & 12) + 1, lambda n: n // 4 % 4 * 4 + 1),
        (lambda n: 2**n, lambda n: sum([1] + [2**k for k in range(n)])),
        (lambda n: (3**n + n) >> 2, lambda n: (3**n + n) // 4),
        (lambda n: (1 << n) // 3, lambda n: (2**n - 1) // 3 if n % 2 == 0 else (2**n - 2) // 3),
        (lambda n: n**n % 1000 + n, lambda n: pow(n, n, 1000) + n),
    ],
)
def test_bits_and_powers_of_sizes_are_exact(size, plain):
    """In ``at``, in the compiled function, after JSON, and in sympy's own functions of numbers."""
    profile = count(lambda x: torch.ones(size(x.shape[0])).exp(), torch.ones(9, 2), dynamic_shapes=({0: B},))
    again = Profile.from_json(profile.to_json())
    assert again == profile
    compiled, total = profile.lambdify(), profile.total.transcendentals
    by_sympy = sympy.lambdify(sympy.Symbol("batch"), total, "math")
    for n in (5, 9, 13, 30):
        assert profile.at(batch=n).total.transcendentals == again.at(batch=n).total.transcendentals == plain(n)
        assert compiled(batch=n).transcendentals == plain(n)
        assert isinstance(compiled(batch=n).transcendentals, int)
        assert by_sympy(n) == plain(n)
    assert str(profile.scaling("transcendentals"))
    assert str(profile)


def test_conditions_on_bits_hold_in_the_compiled_function():
    """A branch on an odd size."""
    profile = count(lambda x: x.exp() if x.shape[0] & 1 else x, torch.ones(7, 2), dynamic_shapes=({0: B},))
    read = Profile.from_json(profile.to_json())
    for one in (profile, read):
        assert one.lambdify()(batch=9).transcendentals == 18
        with pytest.raises(ProfileError, match=r"bitwise_and\(batch, 1\) != 0"):
            one.lambdify()(batch=8)


def test_large_powers_stay_integers():
    """No value passes through floating point, for sizes far beyond its range."""
    n = sympy.Symbol("n")
    expression = (2**n + n) / 2 + functions()["bitwise_xor"](3**n, n)
    assert compile_expressions(["n"], [expression])(2000) == ((2**2000 + 2000) // 2 + (3**2000 ^ 2000),)


def test_own_functions_take_arrays():
    """As sympy's do."""
    numpy = pytest.importorskip("numpy")
    n = sympy.Symbol("n")
    function = sympy.lambdify(n, functions()["bitwise_and"](n, 6) + functions()["ceil_log2"](n), "numpy")
    assert list(function(numpy.array([1, 7, 9]))) == [0 + 0, 6 + 3, 0 + 4]


@pytest.mark.parametrize(
    "text", ["2**(n + 10000)", "9**(9**9*n)", "antialias_taps(9, 1000000000000, 1, 0, 0)", "bitwise_not(n)"]
)
def test_powers_and_functions_in_a_file_cannot_take_long(text):
    """What sympy would compute at once is refused."""
    profile = count(torch.nn.Linear(2, 2), torch.zeros(2, 2), dynamic_shapes=({0: Dim("n")},))
    with pytest.raises(ProfileError, match="damaged"):
        Profile.from_json(profile.to_json().replace('"4*n"', f'"{text}"'))


@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("size", [3, 8, 29])
def test_taps_are_those_of_pytorchs_filter(size, reach):
    """The elements of the result that each element of the image reaches, by its gradient in double precision."""
    mode = {1: "bilinear", 2: "bicubic"}[reach]
    image = torch.eye(size, dtype=torch.float64).reshape(size, 1, size, 1).expand(size, 1, size, 4)
    resized = functional.interpolate(image, size=(5, 4), mode=mode, antialias=True)[:, 0, :, 1]
    taps = antialias_taps(size, 5, reach, 0, 0.0)
    # Some weights at the ends of the filter are zero.
    assert 0 <= taps - int((resized != 0).sum()) <= 2 * 5


class AlarmError(RuntimeError):
    """Raised by a handler of a test."""


def endless(x):
    for _ in range(1_000_000):
        x = x.sin() * 2
    return x


def alarmed(signum, frame):
    if frame is not None and Path(frame.f_code.co_filename).name in ("_weakrefset.py", "weakref.py"):
        # Python drops what a callback of a weak reference raises.
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        return
    raise AlarmError


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarm")
@pytest.mark.parametrize("handler", [alarmed, lambda *given: alarmed(*given)])
@pytest.mark.parametrize("spec", [None, ({0: B},)])
@pytest.mark.no_outer_mode
def test_the_exception_of_a_signal_handler_comes_through(handler, spec):
    """While tracing and while counting without symbols, though it is of a type that programs raise too."""
    # Modules that are imported late would stay half imported.
    count(lambda x: x.sin() * 2, torch.ones(4, 5), dynamic_shapes=spec)
    before = signal.signal(signal.SIGALRM, handler)
    # Python drops what is raised in a callback of the garbage collector, and Hypothesis has one.
    gc.disable()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(AlarmError):
            count(endless, torch.ones(4, 5), dynamic_shapes=spec)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, before)


class Derived(torch.Tensor):
    """A class of tensors of its own, whose storage is asked for in another way."""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarm")
@pytest.mark.parametrize(
    ("method", "ask"),
    [
        ("untyped_storage", lambda: storage_of(torch.ones(3))),
        ("untyped_storage", lambda: storage_of(torch.ones(3).as_subclass(Derived))),
        ("stride", lambda: scattered_bytes(torch.ones(3))),
    ],
)
def test_a_signal_while_a_tensor_is_asked_for_its_memory_comes_through(monkeypatch, method, ask):
    """PyTorch refuses some questions with a RuntimeError, which is an answer; that of a signal handler is none."""
    before = signal.signal(signal.SIGALRM, alarmed)
    monkeypatch.setattr(torch.Tensor, method, lambda *_: signal.raise_signal(signal.SIGALRM))
    try:
        with pytest.raises(AlarmError):
            ask()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_exception_that_comes_from_outside_during_a_comparison_comes_through():
    """The program fails once, at another size, and not again; so the failure was not its own."""
    failed = []

    def interrupted(x):
        if type(x.shape[0]) is int and x.shape[0] != 4 and not failed:
            failed.append(x)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(threading.get_ident()), ctypes.py_object(AlarmError)
            )
            time.sleep(0)
        return x + 1

    with pytest.raises(AlarmError):
        count(interrupted, torch.ones(4, 5), dynamic_shapes=({0: B},))
    assert failed


@pytest.mark.parametrize("spec", [None, ({0: B},)])
def test_a_time_limit_says_where_the_program_was(spec):
    """The operator, the module and the line; PyTorch counts as before afterwards."""

    class Endless(torch.nn.Module):
        def forward(self, x):
            return endless(x)

    net = torch.nn.Sequential(Endless())
    with pytest.raises(
        TimeLimitError,
        match=r"Sequential was not counted within time_limit=0\.5 seconds\. It was at .* in Sequential\.0 "
        r"\(test_symbolic_verification\.py:\d+\)",
    ):
        count(net, torch.ones(4, 5), dynamic_shapes=spec, time_limit=0.5)
    limited = count(torch.nn.Linear(2, 3), torch.ones(4, 2), dynamic_shapes=spec, time_limit=60)
    assert limited == count(torch.nn.Linear(2, 3), torch.ones(4, 2), dynamic_shapes=spec)
    assert len(torch.ones(3)) == 3


@pytest.mark.parametrize("options", [{}, {"device": "cpu"}, {"dynamic_shapes": ({0: Dim("tokens")},)}], ids=str)
def test_a_time_limit_interrupts_where_pytorch_can_bear_it(options):
    """Whenever it comes, the process goes on, and the next count is right."""
    with torch.device("meta"):
        net = torch.nn.Sequential(*[torch.nn.TransformerEncoderLayer(8, 2, 16) for _ in range(2)])
        x = torch.ones(3, 8)
    started = time.monotonic()
    expected = count(net, x, backward=True, **options)
    seconds = time.monotonic() - started
    for part in range(1, 9):
        with contextlib.suppress(TimeLimitError):
            count(net, x, backward=True, time_limit=seconds * part / 12, **options)
    assert count(net, x, backward=True, **options) == expected


def test_a_profiler_works_after_a_time_limit():
    """Python 3.11 runs in circles under a profiler after an exception of another thread was withdrawn."""
    code = """if True:
        import sys, torch
        from opflops import TimeLimitError, count
        net, x = torch.nn.Sequential(*[torch.nn.TransformerEncoderLayer(8, 2, 16) for _ in range(4)]), torch.ones(6, 8)
        for limit in (60, 0.2, 0.001):
            try:
                count(net, x, dynamic_shapes=({0: "tokens"},), time_limit=limit)
            except TimeLimitError:
                pass
        events = []
        sys.setprofile(lambda *event: events.append(event))
        (lambda: None)()
        sys.setprofile(None)
        print(len(events) > 1)
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout == "True\n"


@pytest.mark.parametrize("limit", [0, -1, "1", True, float("nan")])
def test_a_time_limit_is_a_positive_number(limit):
    """Anything else gets a sentence."""
    with pytest.raises(OpflopsError, match="time_limit must be a number of seconds above 0"):
        count(torch.relu, torch.ones(3), time_limit=limit)


def test_formulas_are_imported_again_after_an_interruption(monkeypatch):
    """An interrupted first use leaves no half of the formulas behind."""
    monkeypatch.setitem(sys.modules, "some_formulas.of_mine", None)
    registry = Registry(rules_package="some_formulas")
    monkeypatch.setattr("opflops.pricing.registry.import_module", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    registry._rules_by_name["a::b"] = None
    with pytest.raises(KeyboardInterrupt):
        registry.get_rule_by_name("a::b")
    assert not registry._rules_by_name
    assert "some_formulas.of_mine" not in sys.modules


class Squeezed(nn.Module):
    """Drop an axis of size 1, which takes no arithmetic."""

    def forward(self, x):
        return x.squeeze(0)


def test_shapes_of_modules_are_verified_at_sizes_of_1():
    """A module that returns another shape there is a case, even if all costs are the same."""
    model = nn.Sequential(nn.Linear(4, 3), Squeezed())
    profile = count(model, torch.ones(6, 4), dynamic_shapes=({0: Dim("n")},))
    for size in (1, 2, 9):
        assert profile.at(n=size).modules == count(model, torch.ones(size, 4)).modules
        assert profile.at(n=size).total == count(model, torch.ones(size, 4)).total


def test_activations_are_verified(monkeypatch):
    """A wrong formula for the size of results is refused."""
    expression = RecordingShapeEnv.expression

    def wrong(self, count):
        found = expression(self, count)
        return found + 1 if str(found) == "3*n" else found

    monkeypatch.setattr(RecordingShapeEnv, "expression", wrong)
    with pytest.raises(DimensionError, match=r"aten\.mm has results of another size in the forward of Linear"):
        count(nn.Linear(4, 3, bias=False), torch.ones(6, 4), dynamic_shapes=({0: Dim("n")},))


def test_substituting_in_many_counts_gives_what_substituting_in_each_gives():
    """Integers, expressions with one size left, constants of sympy, and what is no count."""
    n, m = sympy.symbols("n m")
    counts = [7, n, 2 * n + m, n**2 * m, sympy.Integer(3), sympy.floor(n / 2), None, "4", n, 2 * n + m]
    at = Substitution({"n": 5})
    for count_ in (*counts, *counts):
        found, expected = at(count_), substitute(count_, {"n": 5})
        assert (found, type(found)) == (expected, type(expected))
    assert [at(2 * n + m), at(n), at(sympy.floor(n / 2))] == [m + 10, 5, 2]
