"""Live memory: storages from the operator that made them until nothing refers to them."""
