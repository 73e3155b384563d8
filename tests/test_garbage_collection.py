"""The collector rests while a report is written, and is as it was afterwards."""

import gc

import pytest

from opflops.records.garbage_collection import with_gc_disabled


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was_afterwards(enabled):
    """Also where the report fails; meanwhile it rests."""

    @with_gc_disabled
    def write(fails):
        assert not gc.isenabled()
        if fails:
            raise ValueError("as asked")
        return "report"

    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        assert write(fails=False) == "report"
        assert gc.isenabled() == enabled
        with pytest.raises(ValueError, match="as asked"):
            write(fails=True)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_a_report_makes_no_garbage():
    """What the collector would look for is not there: objects go as soon as nothing holds them."""
    from test_rows import PROFILE  # noqa: PLC0415 - only here

    PROFILE.table()
    gc.collect()
    gc.disable()
    try:
        PROFILE.table()
        str(PROFILE)
        assert gc.collect() < 50
    finally:
        gc.enable()
