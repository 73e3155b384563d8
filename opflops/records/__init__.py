"""Plain data: the cost of an operator (``Cost``), a line of recorded work (``Row``), and counts that are expressions.

Nothing here sees a tensor or imports PyTorch. May import ``errors`` and ``wording``; every other package may import it.
"""
