"""How an operator finds its formula: registry, binding to a schema, memory traffic, and the accumulators of costs.

Knows operators as keys only, none by name. May import ``torch_internals`` and ``records``; formulas, the dispatch mode
and counting without running import it.
"""
