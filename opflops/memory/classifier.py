"""What storages are for: parameters, gradients, buffers, inputs and so on, as models and optimizers show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.memory.storages import BEFORE, BUFFER, GRADIENT, INPUT, PARAMETER, StorageRecord, Storages
from opflops.torch_internals.modules import registered_below
from opflops.torch_internals.storages import component_tensors, is_fake, storage_bytes, storage_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn


class StorageClassifier:
    """Note the storages of tensors, and put them into categories.

    Args:
        storages: The storages that are known.

    Attributes:
        storages: The same.
        records: Their records, by identity.
        opaque: Whether a tensor was met whose memory cannot be seen.
        sparse_without_values: Whether a sparse tensor was met that has no values.
    """

    def __init__(self, storages: Storages) -> None:
        self.storages = storages
        self.records = storages.records
        self.opaque = self.sparse_without_values = False

    def note(self, tensor: Tensor, born: int) -> None:
        """Note a tensor's storage, which counts once it is used."""
        storage = storage_of(tensor)
        if storage is None:
            for each in self.components(tensor):
                self.note(each, born)
        elif id(storage) not in self.records and (size := storage_bytes(storage)):
            self.storages.add(storage, size, born)

    def components(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors that one without a storage of its own consists of; note where these cannot be seen."""
        found = component_tensors(tensor)
        if found is None:
            self.opaque = True
        elif found and (tensor.is_sparse or tensor.is_sparse_csr) and (tensor.is_meta or is_fake(tensor)):
            self.sparse_without_values = True
        return found or []

    def classify(self, tensor: Tensor, category: int) -> None:
        """Count a tensor's storage in a category, unless it is in one that comes first.

        What was not seen yet no operator of the block made, so it is from before.
        """
        self.note(tensor, BEFORE)
        for record in self.records_of(tensor):
            if record.device is None:
                self.count_from_before(record, tensor)
            record.category = min(record.category, category)

    def classify_gradients(self, leaves: Iterable[Tensor]) -> None:
        """Classify the gradients that leaves have."""
        self.see_gradients([grad for leaf in leaves if (grad := leaf.grad) is not None])

    def see_gradients(self, gradients: Iterable[Tensor]) -> None:
        """Classify tensors that are gradients."""
        self.classify_all(gradients, GRADIENT)

    def unused_records_of(self, tensor: Tensor) -> list[StorageRecord]:
        """Return the records of a tensor's storages that the block did not use yet; make them if there are none."""
        self.note(tensor, BEFORE)
        return [record for record in self.records_of(tensor) if record.device is None]

    def count_from_before(self, record: StorageRecord, tensor: Tensor) -> None:
        """Count a storage that is from before the block."""
        # A collection of garbage may have noted it as something of the block.
        record.born, record.category = BEFORE, min(record.category, INPUT)
        self.storages.count(record, tensor.device)

    def records_of(self, tensor: Tensor) -> list[StorageRecord]:
        """Return the records of a tensor's storages that are known."""
        storage = storage_of(tensor)
        if storage is None:
            return [record for each in self.components(tensor) for record in self.records_of(each)]
        record = self.records.get(id(storage))
        if record is not None and record.keeps is not None:
            record = self.records.get(id(record.keeps))
        return [] if record is None else [record]

    def classify_module(self, module: nn.Module) -> None:
        """Count the parameters, gradients and buffers of a model."""
        parameters, buffers = registered_below(module)
        self.classify_all(parameters, PARAMETER)
        self.classify_gradients(parameters)
        self.classify_all(buffers, BUFFER)

    def classify_all(self, tensors: Iterable[Tensor], category: int) -> None:
        """Classify tensors as :meth:`classify` does; most are plain, and are known or are from before the block."""
        for tensor in tensors:
            storage = storage_of(tensor)
            record = None if storage is None else self.records.get(id(storage))
            if record is not None and record.device is not None and record.keeps is None:
                record.category = min(record.category, category)
            elif record is None and storage is not None and (size := storage_bytes(storage)):
                record = self.storages.add(storage, size, BEFORE)
                record.category = min(record.category, category)
                self.storages.count(record, tensor.device)
            else:
                self.classify(tensor, category)
