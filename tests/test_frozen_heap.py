"""While a program is counted without running it, the garbage collector passes over what there was before."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import torch
from test_interruption import interruptions
from torch import Tensor
from torch.export import Dim

from opflops import count
from opflops.counting import frozen_heap
from opflops.counting.frozen_heap import FrozenHeap
from opflops.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES: Any = ({0: Dim("batch")},)


@pytest.fixture(autouse=True)
def _thawed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The session has a frozen heap of its own."""
    gc.unfreeze()
    monkeypatch.setattr(frozen_heap, "_not_looking", 0)
    yield
    gc.freeze()


def test_the_heap_is_frozen_in_a_count_and_thaws_afterwards() -> None:
    """Also if the program fails, and with one count inside another one's time."""
    frozen: list[bool] = []

    def program(x: Tensor) -> Tensor:
        frozen.append(gc.get_freeze_count() > 0)
        return x + 1

    def failing(x: Tensor) -> Tensor:
        frozen.append(gc.get_freeze_count() > 0)
        raise KeyError(x.dim())

    for options in ({}, {"dynamic_shapes": SHAPES}):
        count(program, torch.zeros(2, 3), **options)
        assert gc.get_freeze_count() == 0
    with pytest.raises(ModelError):
        count(failing, torch.zeros(2, 3), dynamic_shapes=SHAPES)
    assert gc.get_freeze_count() == 0
    with FrozenHeap():
        count(program, torch.zeros(2, 3), dynamic_shapes=SHAPES)
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
    assert set(frozen) == {True}


def test_what_a_program_has_frozen_itself_stays_frozen() -> None:
    """The count freezes nothing then, since Python thaws only everything at once."""
    gc.freeze()
    before = gc.get_freeze_count()
    count(lambda x: x + 1, torch.zeros(2, 3), dynamic_shapes=SHAPES)
    # Objects that end leave it.
    assert 0 < gc.get_freeze_count() <= before
    gc.unfreeze()
    # To look takes long while there are such objects, so that only some of the next counts do.
    frozen: list[int] = []
    for _ in range(frozen_heap._LOOK_AGAIN_AFTER + 1):
        with FrozenHeap():
            frozen.append(gc.get_freeze_count())
    assert not any(frozen[:-1])
    assert frozen[-1]


def test_garbage_of_a_count_is_collected_meanwhile() -> None:
    """A cycle that the program makes while the heap is frozen ends in the next collection."""

    class Cycle:
        def __init__(self) -> None:
            self.itself = self
            self.ended = ended

        def __del__(self) -> None:
            self.ended.append(True)

    ended: list[bool] = []
    with FrozenHeap():
        Cycle()
        gc.collect()
        assert ended == [True]


def test_garbage_from_before_is_passed_over_by_few_counts() -> None:
    """A program that does nothing beside its counts is rid of it too: collections that were due are made up for."""

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    gc.collect()
    for passes in range(3):
        reference = weakref.ref(Cycle())
        for number in range(1, 20):
            with FrozenHeap():
                if number % 2:
                    gc.collect()  # as Python does now and then
            if reference() is None:
                break
        # Five of them, and the fifth is the ninth here; the first round may have had some before.
        assert number == 9 or (not passes and number < 9)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("event", ["line", "opcode"])
def test_an_interruption_at_any_place_leaves_nothing_frozen(event: str) -> None:
    """While the heap is frozen and while it thaws, also before the first line of what thaws it."""

    def program() -> None:
        with FrozenHeap():
            pass

    places = 0
    for _ in interruptions(program, event=event, files=("counting/frozen_heap.py", "interruption.py")):
        assert gc.get_freeze_count() == 0
        places += 1
    assert places > 10
