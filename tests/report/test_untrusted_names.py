"""Names that a stranger chose: no report acts upon a terminal, or breaks, for what a module is called."""

from dataclasses import replace

import pytest

from opflops import Cost, Profile, Row
from opflops.devices import Device
from opflops.profile.budgets import format_largest, unpriced_messages
from opflops.report.text.comparison import ComparisonOptions, format_comparison, format_difference
from opflops.report.text.pairing import ComparedProfile

TITLE = "\x1b]0;owned\x07\x1b[2J"
SHOWN = r"\x1b]0;owned\x07\x1b[2J"
HOSTILE = Row(
    f"Net.{TITLE}", f"Li\nnear{TITLE}", f"my.{TITLE}", f"forward{TITLE}", f"float32{TITLE}", 1, Cost(macs=4), 1.0,
    f"who\nknows{TITLE}",
)  # fmt: skip
UNKNOWN = Row(f"Net.{TITLE}", "Linear", f"my.{TITLE}", "forward", "float32", 1, Cost(), priced=False)
INTEGER = Row("Net", "Net", "aten.add", "forward", f"int64{TITLE}", 1, Cost(ops=4, bytes_read=4), 1.0)
PROFILE = Profile((HOSTILE, UNKNOWN, INTEGER))
DEVICE = Device("toy", {HOSTILE.dtype: 1.0, "float32": 1.0}, 1.0)
KEYS = ("module", "module_type", "op", "phase", "dtype")
NAMED = ComparedProfile(PROFILE.rows)

VIEWS = {
    "overview": lambda: str(PROFILE),
    **{f"table by {key}": lambda key=key: PROFILE.table(key) for key in KEYS},
    "table by several": lambda: PROFILE.table(("module", "op")),
    "state": PROFILE.to_mermaid,
    "er": lambda: PROFILE.to_mermaid("er"),
    **{
        f"comparison by {key}": lambda key=key: format_comparison({TITLE: NAMED}, ComparisonOptions(by=key))
        for key in KEYS
    },
    "difference": lambda: format_difference(NAMED, ComparedProfile((HOSTILE,)), names=("before", TITLE)),
    "roofline": lambda: str(PROFILE.roofline(DEVICE, ("module", "op", "dtype"))),
    "bottlenecks": lambda: str(PROFILE.bottlenecks(DEVICE)),
    "resources": lambda: str(
        Profile((replace(HOSTILE, phase="forward"), HOSTILE)).resources(
            replace(DEVICE, name=TITLE, source=TITLE), steps=1, mfu=0.4
        )
    ),
    "utilization": lambda: str(
        Profile((replace(HOSTILE, phase="forward"), replace(UNKNOWN, phase="backward"))).mfu(1.0, DEVICE)
    ),
    "utilization by a strange device": lambda: str(
        Profile((replace(HOSTILE, phase="forward", dtype="float32", estimate=""),)).mfu(
            1.0, replace(DEVICE, name=TITLE, source=f"who\nnear{TITLE}")
        )
    ),
    "budget": lambda: "\n".join([format_largest(PROFILE, "macs"), *unpriced_messages(PROFILE)]),
}


@pytest.mark.parametrize("view", VIEWS)
def test_no_report_writes_what_a_terminal_acts_upon(view, monkeypatch):
    """What cannot be printed is written as in Python's strings; a line stays a line."""
    monkeypatch.setenv("COLUMNS", "400")
    text = VIEWS[view]()
    assert all(line.isprintable() for line in text.splitlines())
    assert "\nnear" not in text
    # Mermaid has characters by their numbers.
    assert SHOWN in text or r"#92;x1b#93;0#59;owned#92;x07" in text
