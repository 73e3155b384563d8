"""Plain data: costs (``Cost``), lines of recorded work (``Row``), counts that are expressions, devices (``Device``).

Nothing here sees a tensor or imports PyTorch. May import ``errors`` and ``wording``; every other package may import it.
"""
