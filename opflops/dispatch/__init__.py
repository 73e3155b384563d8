"""The dispatch mode's machinery: run an operator and record its cost, in the block's own thread and in others.

May import ``pricing``, ``attribution``, ``higher_order`` and what is below them; ``mode`` imports it, and
``counting`` its clock.
"""
