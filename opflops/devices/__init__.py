"""Hardware: figures of devices, lower bounds on time from them, and a benchmark of the device at hand.

May import ``records`` and what is below it; reports, profiles and the command line import it.
"""

from opflops.devices.at_hand import device
from opflops.records.datasheets import DEVICES, TF32, Device

__all__ = ["DEVICES", "TF32", "Device", "device"]
