"""Live memory: storages from the operator that made them until nothing refers to them.

The tracker of a block sees the tensors of each operator, models, backward passes and optimizers, and refers to storages
weakly. May import ``attribution``, ``pricing``, ``records`` and ``torch_internals``, but no mode; the dispatch mode
imports it late, for programs that ask for memory.
"""
