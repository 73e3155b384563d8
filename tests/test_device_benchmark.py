"""Measured devices: rates that a run of this machine cannot beat by much, in a roofline."""

import time

import pytest
import torch

from opflops import OpFlopMode, ProfileError
from opflops.devices.benchmark import benchmark_device


@pytest.fixture(scope="module")
def here():
    return benchmark_device("cpu", [torch.float32])


def test_a_product_does_not_run_much_faster_than_what_was_measured(here):
    """One of the same shape, timed by itself; machines are noisy, so within five times either way."""
    left, right = torch.randn(2, 1024, 1024)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    assert 1 / 5 < here.peak("float32") * min(seconds) / (2 * 1024**3) < 5


def test_a_copy_moves_what_was_measured(here):
    """Bytes read and bytes written, within five times either way."""
    source = torch.zeros(2**26)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - started)
    assert 1 / 5 < here.bandwidth * min(seconds) / (2 * 4 * 2**26) < 5


def test_it_says_what_it_is(here):
    """Which machine, measured with what; only the dtypes asked for."""
    assert here.name == "this CPU"
    assert here.source == f"measured with PyTorch {torch.__version__}"
    assert list(here.peaks) == ["float32"]


def test_it_serves_a_roofline(here):
    """Of a product timed here, which takes about what it must."""
    left, right = torch.randn(2, 1024, 1024)
    left @ right
    with OpFlopMode(timing=True) as mode:
        left @ right
    (part,) = mode.profile.roofline(here).parts
    assert part.limit == "arithmetic"
    assert 0.02 < part.attained < 5


def test_other_devices_are_refused():
    """There is nothing to time on meta."""
    with pytest.raises(ProfileError, match="The device to measure must be cpu or cuda, not 'meta'"):
        benchmark_device("meta")
