"""The storages of a device that are alive, from birth to death, and the sums of their sizes."""

from __future__ import annotations

import weakref
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from opflops.memory.timeline import Timeline
from opflops.records.memory import CATEGORIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.attribution.module_context import ModuleContext

PARAMETER, GRADIENT, OPTIMIZER, BUFFER, INPUT, ACTIVATION, TEMPORARY = range(len(CATEGORIES))

BEFORE = -1
"""The birth of storages from before the block."""


class StorageRecord(weakref.ref[Any]):
    """Refer to a storage weakly, and hold what is known of it.

    Attributes:
        key: The identity of the storage.
        size: Its bytes.
        born: The number of the operator that made it; :data:`BEFORE` for one from before the block.
        category: The index of its category, as known so far.
        owner: The module whose work made autograd keep it; None if it does not.
        device: Where it counts; None if it is from before the block, and the block did not use it yet.
    """

    __slots__ = ("born", "category", "device", "key", "owner", "size")

    key: int
    size: int
    born: int
    category: int
    owner: ModuleContext | None
    device: DeviceMemory | None

    # Most records need no room for these; see NotedRecord.
    keeps: Any = None
    noted: tuple[int, ...] = ()


class NotedRecord(StorageRecord):
    """Hold what is known of a storage that an operator has not made just now.

    Attributes:
        keeps: The storage that it is a view of, if it is fake and that is not.
        noted: The identities of the tensors by which a collection of garbage noted it, before the block used it.
    """

    __slots__ = ("keeps", "noted")


class DeviceMemory:
    """Hold what is alive on one device.

    Attributes:
        name: The device.
        base: The bytes of storages from before the block that it used. They were alive from its beginning.
        live: The bytes of those made in the block that are alive, less those from before that died.
        highest: The highest that this was.
        source: The code and the instruction where it was highest.
        timeline: What was alive after each operator.
        peaks: The highest, by phase and module context.
        backward_began: Whether a backward pass has begun.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.base = 0
        self.live = 0
        self.highest = -(2**63)
        self.source: tuple[Any, int] | None = None
        self.timeline = Timeline()
        self.backward_began = False
        self.peaks: defaultdict[str, dict[ModuleContext, int]] = defaultdict(dict)


class Storages:
    """Hold a record of each storage that was seen and is alive.

    Args:
        rounded: Whether sizes are rounded up to multiples of this; 1 if not.

    Attributes:
        records: The records by the identity of the storage.
        devices: The devices.
        in_order: The same as a list.
        only_device: The device that all storages count on; None if each counts on its own.
    """

    def __init__(self, rounded: int = 1) -> None:
        self.records: dict[int, StorageRecord] = {}
        self.devices: dict[Any, DeviceMemory] = {}
        self.in_order: list[DeviceMemory] = []
        self.only_device: Any = None
        self._rounded = rounded
        self._on_death = _remover(weakref.ref(self))

    def add(self, storage: Any, size: int, born: int) -> NotedRecord:
        """Make the record of a storage that is not counted yet."""
        record = NotedRecord(storage, self._on_death)
        record.key = id(storage)
        record.size = size if self._rounded == 1 else self._rounded_size(size)
        record.born, record.category = born, INPUT if born == BEFORE else TEMPORARY
        record.owner = record.device = record.keeps = None
        record.noted = ()
        self.records[record.key] = record
        return record

    def make(self, storage: Any, size: int, number: int, device: Any) -> None:
        """Make the record of a storage that an operator has made, and count it: :meth:`add` and :meth:`count`."""
        memory = self.devices.get(device)
        if memory is None or self.only_device is not None or self._rounded != 1:
            self.count(self.add(storage, size, number), device)
            return
        record = StorageRecord(storage, self._on_death)
        record.key = key = id(storage)
        record.size = size
        record.born = number
        record.category = TEMPORARY
        record.device = memory
        record.owner = None
        self.records[key] = record
        memory.live += size

    def _rounded_size(self, size: int) -> int:
        return -(-size // self._rounded) * self._rounded

    def count(self, record: StorageRecord, device: Any) -> None:
        """Count a storage on a device from its birth on."""
        device = self.only_device or device
        memory = self.devices.get(device)
        if memory is None:
            memory = self.devices.setdefault(device, DeviceMemory(str(device)))
            self.in_order = [*self.devices.values()]
        record.device = memory
        if record.born == BEFORE:
            memory.base += record.size
        else:
            memory.live += record.size

    def resize(self, record: StorageRecord, storage: Any, size: int, number: int) -> None:
        """Let a storage die and be born again, if it has another size now."""
        device = record.device
        if self._rounded_size(size) == record.size:
            return
        self._on_death(record)
        if size:
            new = self.add(storage, size, number)
            new.category, new.owner = (record.category, record.owner) if record.category != INPUT else (TEMPORARY, None)
            if device is not None:
                new.device = device
                device.live += new.size


def _remover(reference: weakref.ref[Storages]) -> Callable[[StorageRecord], None]:
    """Return what removes the record of a storage that has died, and does not keep the records alive."""

    def remove(record: StorageRecord) -> None:
        storages = reference()
        if storages is not None and storages.records.get(record.key) is record:
            del storages.records[record.key]
            device = record.device
            if device is not None:
                device.live -= record.size
                if record.category != TEMPORARY:
                    device.timeline.remove(record.born, record.size, record.category)

    return remove
