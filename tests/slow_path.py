"""A mode that takes the slow path for every call, to compare the fast path with."""

from opflops import OpFlopMode


class SlowPathMode(OpFlopMode):
    """Count as the mode does, and let no operator take the fast path."""

    def record_first(self, func, price, args, kwargs, out):
        self.record(price, args, kwargs, out)
