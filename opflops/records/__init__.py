"""Plain data: the cost of an operator (``Cost``), a line of recorded work (``Row``), counts that are expressions, what
was kept in memory (``Memory``), and the figures of devices (``Device``).

Nothing here sees a tensor or imports PyTorch. May import ``errors`` and ``wording``; every other package may import it.
"""
