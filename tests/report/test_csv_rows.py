"""Rows as comma-separated values."""

import csv
import io

import pytest
import torch
from hypothesis import given
from test_rows import PROFILE, profiles

from opflops import Cost, Profile, ProfileError, Row, count

HEADER = (
    "module,module_type,op,phase,dtype,calls,macs,ops,flops,transcendentals,bytes_read,bytes_written,seconds,"
    "estimate,priced"
)


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_header_is_the_version():
    """Columns of version 1, in this order for ever; lines end as RFC 4180 has them."""
    first, *lines, last = PROFILE.to_csv().split("\r\n")
    assert first == HEADER
    assert lines[0] == "Net.a,Linear,aten.addmm,forward,float32,2,10,4,24,0,0,0,,,true"
    assert (len(lines), last) == (4, "")


@given(profiles)
def test_every_row_is_there_as_it_was(profile):
    """Integer rows too, and every number in full."""
    found = [
        Row(
            each["module"],
            each["module_type"],
            each["op"],
            each["phase"],
            each["dtype"],
            int(each["calls"]),
            Cost(*(int(each[name]) for name in Cost._fields)),
            float(each["seconds"]) if each["seconds"] else None,
            each["estimate"],
            each["priced"] == "true",
        )
        for each in read(profile.to_csv())
    ]
    assert tuple(found) == profile.rows


def test_flops_are_two_for_each_mac_and_one_for_each_other_operation():
    """The one derived column, so that no reader has to know the convention."""
    assert [each["flops"] for each in read(PROFILE.to_csv())] == ["24", "6", "9", "40"]


def test_names_with_commas_quotes_and_lines_survive():
    """The csv module quotes what it must."""
    odd = Row('Net.a,"b"\r\nc', "Linear\n", "aten.mm", "forward", "float32", 1, Cost(), estimate='"so", she said')
    (found,) = read(Profile((odd,)).to_csv())
    assert (found["module"], found["module_type"], found["estimate"]) == (odd.module, odd.module_type, odd.estimate)


def test_expressions_are_text():
    """A count for all sizes is the expression, not one of its values."""
    batch = torch.export.Dim("batch")
    profile = count(torch.nn.Linear(4, 3), torch.ones(2, 4), dynamic_shapes=({0: batch},))
    assert {each["macs"] for each in read(profile.to_csv()) if each["op"] == "aten.addmm"} == {"12*batch"}


def test_a_count_that_is_symbolic_to_pytorch_is_refused():
    """It means nothing outside the process."""
    with pytest.raises(ProfileError, match=r"symbolic count .* cannot be written"):
        Profile((Row("", "", "aten.mm", "forward", "float32", 1, Cost(macs=object())),)).to_csv()
