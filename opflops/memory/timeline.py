"""The live bytes after each operator, thinned to about a thousand samples, and what each sample consists of."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from opflops.records.memory import CATEGORIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opflops.attribution.module_context import ModuleContext

    TimelineSample = tuple[int, ModuleContext, str, Any]
    """The live bytes, without those that were there from the beginning, and the module, the phase and the operator."""

MAX_SAMPLES = 1000


class Timeline:
    """Hold samples of live bytes: of each stretch of operators the highest.

    A storage is alive at the samples from its birth on that are taken before its death, so what dies is added to those
    samples, by category. The samples thus consist of the storages that were alive, without a list of them.

    What dies may do so in the middle of any method, so each update is a single step.

    Attributes:
        numbers: The number of the operator of each sample.
        samples: The samples.
        latest: The live bytes of the last sample.
        shift: The binary logarithm of the length of a stretch.
        stretch: That of the last sample.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.samples: list[TimelineSample] = []
        self.latest = 0
        self.shift = 0
        self.stretch = -1
        # Of each category: the changes from sample to sample of the bytes that have died since. Those that died since
        # the last sample, which a higher one may replace, are apart.
        self._died: list[defaultdict[int, int]] = [defaultdict(int) for _ in CATEGORIES]
        self._died_at: dict[int, list[int]] = {}
        # What dies while samples are merged; None at other times.
        self._waiting: list[tuple[int, int, int]] | None = None

    def add(self, number: int, live: int, context: ModuleContext, phase: str, func: Any) -> None:
        """Add what is live after an operator, whose number is higher than those before."""
        stretch, sample = number >> self.shift, (live, context, phase, func)
        if stretch > self.stretch:
            if len(self.numbers) >= MAX_SAMPLES:
                self._thin()
                self.add(number, live, context, phase, func)
                return
            self.stretch, self.latest = stretch, live
            self.samples.append(sample)
            self.numbers.append(number)
        elif live > self.latest:
            self.numbers[-1], self.samples[-1], self.latest = number, sample, live
            self._died_at.pop(len(self.numbers) - 1, None)

    def remove(self, born: int, size: int, category: int) -> None:
        """Add a storage that died to the samples at which it was alive."""
        if self._waiting is not None:
            self._waiting.append((born, size, category))
            return
        last = len(self.numbers) - 1
        if last < 0 or self.numbers[last] < born:
            return
        first = bisect_left(self.numbers, born)
        if first < last:
            changes = self._died[category]
            changes[first] += size
            changes[last] -= size
        self._died_at.setdefault(last, [0] * len(CATEGORIES))[category] += size

    def by_category(self, alive: Iterable[tuple[int, int, int]]) -> list[list[int]]:
        """Return the bytes of each sample by category.

        Args:
            alive: Of each storage that is alive: birth, size and category.
        """
        changes = [defaultdict(int, each) for each in self._died]
        for born, size, category in alive:
            changes[category][bisect_left(self.numbers, born)] += size
        samples = [[*self._died_at.get(index, [0] * len(CATEGORIES))] for index in range(len(self.numbers))]
        for category, each in enumerate(changes):
            value = 0
            for index, sample in enumerate(samples if each else ()):
                value += each.get(index, 0)
                sample[category] += value
        return samples

    def _thin(self) -> None:
        """Make the stretches longer, and keep the highest sample of each."""
        self._waiting = []
        died = self.by_category(())
        kept = [*range(len(self.numbers))]
        while len(kept) > MAX_SAMPLES // 2:
            self.shift += 1
            highest: dict[int, int] = {}
            for index in kept:
                stretch = self.numbers[index] >> self.shift
                if self.samples[index][0] > self.samples[highest.setdefault(stretch, index)][0]:
                    highest[stretch] = index
            kept = [*highest.values()]
        self.stretch = self.numbers[-1] >> self.shift
        self.numbers = [self.numbers[index] for index in kept]
        self.samples = [self.samples[index] for index in kept]
        self.latest = self.samples[-1][0]
        self._died_at = {new: died[index] for new, index in enumerate(kept)}
        self._died = [defaultdict(int) for _ in CATEGORIES]
        waiting, self._waiting = self._waiting, None
        for each in waiting:
            self.remove(*each)
