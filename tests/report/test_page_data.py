"""The page as text: its data adds up, is safe in HTML, stays small; what cannot be shown is refused with a sentence."""

import base64
import hashlib
import json
import re
import sys
from dataclasses import replace
from fractions import Fraction

import pytest
import sympy
from hypothesis import given
from test_rows import INDEX, LINEAR, PROFILE, profiles

from opflops import Cost, MissingExtraError, Profile, ProfileError, Row
from opflops.devices import Device
from opflops.records.dimensions import Dimension
from opflops.report import Symbolic
from opflops.report.page import embed_json
from opflops.report.page.data import device_data, profile_data

BATCH = sympy.Symbol("batch")
NUMBERS = Symbolic()


def paths(data):
    """Name every node by its way from the outermost one, as the browser does."""
    strings, nodes = data["strings"], data["nodes"]
    found = []
    for parent, name in zip(nodes["parent"], nodes["name"], strict=True):
        assert parent < len(found)
        found.append((*(found[parent] if parent >= 0 else ()), strings[name]))
    return found


@given(profiles)
def test_rows_keep_their_place_and_counts(profile):
    """Each floating-point row stands below its module, with its own numbers; a parent comes before its children."""
    data = profile_data(profile.rows, NUMBERS)
    where, columns, strings = paths(data), data["rows"], data["strings"]
    kept = [row for row in profile.rows if row.floating]
    assert all(len(column) == len(kept) for column in columns.values())
    for place, row in enumerate(kept):
        node = columns["node"][place]
        assert where[node] == (*(row.module or "(outside)").split("."), row.op)
        assert data["nodes"]["kind"][node] == (1 if row.priced else 2)
        assert row.estimate in ("", *data["nodes"]["estimates"].get(node, []))
        assert strings[columns["phase"][place]] == row.phase
        assert strings[columns["dtype"][place]] == row.dtype
        assert Cost(*(columns[field][place] for field in Cost._fields)) == row.cost
        assert columns["calls"][place] == row.calls
        assert columns.get("seconds", [None] * len(kept))[place] == row.seconds
    assert len(set(zip(where, data["nodes"]["kind"], strict=True))) == len(where)


def test_a_module_has_its_type_wherever_its_rows_come():
    """Also if a module inside it ran first."""
    inner, outer = replace(LINEAR, module="Net.a.b"), replace(LINEAR, module="Net.a", module_type="Block")
    data = profile_data((inner, outer), NUMBERS)
    types = dict(zip(paths(data), (data["strings"][place] for place in data["nodes"]["type"]), strict=True))
    assert types["Net",] == ""
    assert types["Net", "a"] == "Block"
    assert types["Net", "a", "b"] == "Linear"


def test_integer_work_is_in_the_notes_alone():
    """As in every other report."""
    data = profile_data(PROFILE.rows, NUMBERS)
    assert len(data["rows"]["node"]) == 3
    assert any("Integer work: 9 int64 operations" in note for note in data["notes"])


def test_the_traffic_of_integers_is_sent_by_phase():
    """It takes time on a device; expressions are taken at the examples."""
    index = replace(INDEX, cost=Cost(ops=5, bytes_read=8, bytes_written=3 * BATCH))
    rows = (LINEAR, index, replace(index, seconds=0.5), replace(index, phase="backward", dtype="bool"))
    symbolic = Symbolic((Dimension("batch", 7),))
    sent = profile_data(rows, symbolic)["integer"]
    assert sent == [
        {"phase": "forward", "bytes": 58, "seconds": 0.5, "untimed": True},
        {"phase": "backward", "bytes": 29, "seconds": None, "untimed": True},
    ]
    (timed,) = profile_data((replace(index, seconds=0.5), replace(INDEX, cost=Cost())), symbolic)["integer"]
    assert timed == {"phase": "forward", "bytes": 29, "seconds": 0.5, "untimed": False}
    assert profile_data((LINEAR,), NUMBERS)["integer"] == []


@pytest.mark.parametrize("largest", [2**52, -(2**52), 10**30])
def test_counts_that_javascript_cannot_add_up_are_sent_as_text(largest):
    """As the coefficients of one; small ones are numbers."""
    data = profile_data((LINEAR, replace(LINEAR, cost=Cost(macs=largest, ops=7))), NUMBERS)
    assert data["counts"]["terms"] == [["1", 1.0]]
    assert data["counts"]["sizes"] == {}
    assert data["rows"]["macs"] == [[(0, "10")], [(0, str(largest))]]
    assert data["rows"]["ops"] == [[(0, "4")], [(0, "7")]]
    assert data["rows"]["transcendentals"] == [[], []]


def test_expressions_are_sent_term_by_term():
    """Terms times coefficients over the denominator make the expression; terms come with their values."""
    half = sympy.floor(BATCH / 2)
    counts = (3 * BATCH**2 + 5, sympy.Rational(1, 2) * BATCH**2 - sympy.Rational(1, 3) * BATCH, 4 * half * BATCH)
    rows = tuple(replace(LINEAR, cost=Cost(macs=each)) for each in counts)
    data = profile_data(rows, Symbolic((Dimension("batch", 7),)))
    written = data["counts"]
    values = {"batch**2": 49.0, "batch*floor(batch/2)": 21.0, "batch": 7.0, "1": 1.0}
    assert dict(written["terms"]) == values
    assert written["terms"][-1][0] == "1"
    assert written["denominator"] == 6
    assert written["sizes"] == {"batch": 7}
    for sent, count in zip(data["rows"]["macs"], counts, strict=True):
        found = sum(Fraction(int(factor), 6) * Fraction(values[written["terms"][place][0]]) for place, factor in sent)
        assert found == Fraction(str(count.subs({BATCH: 7})))


def test_what_is_symbolic_to_pytorch_is_refused():
    """It has no value to draw, nor a time on a device."""
    for row in (replace(LINEAR, cost=Cost(macs=object())), replace(INDEX, cost=Cost(bytes_read=object()))):
        with pytest.raises(ProfileError, match=r"symbolic count .* cannot be drawn; evaluate it first"):
            profile_data((row,), NUMBERS)


@pytest.mark.parametrize("text", ["</script>", "<!--", "<script>", "&lt;", "]]>", "\u2028\u2029\x00'\"\\", "é漢\ud800"])
def test_embedded_text_ends_no_element(text):
    """No markup is left in it, and JSON reads the same."""
    written = embed_json({text: [text]})
    assert not re.search("[<>&\u2028\u2029\x00]", written)
    assert json.loads(written) == {text: [text]}


def test_a_device_is_its_peaks_for_the_dtypes_that_ran():
    """TF32 where it was asked for; a dtype without a known peak is named."""
    device = Device("toy", {"float32": 10.0, "tf32": 80.0}, 2.0)
    rows = (*PROFILE.rows, replace(LINEAR, dtype="float64"), replace(LINEAR, dtype="float16", cost=Cost()))
    expected = {"name": "toy", "bandwidth": 2.0, "unknown": ["float64"]}
    assert device_data(rows, device, tf32=False) == {**expected, "peaks": {"float32": 10.0}, "tf32": False}
    assert device_data(rows, device, tf32=True) == {**expected, "peaks": {"float32": 80.0}, "tf32": True}


def test_a_page_may_load_and_send_nothing():
    """The policy in it lets its own two scripts run, by their digests, and nothing of our own names an address."""
    pytest.importorskip("plotly")
    html = PROFILE.to_html(about={"inputs": "x (2, 3)"})
    (policy,) = re.findall('<meta http-equiv="Content-Security-Policy" content="(.*)">', html)
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    forbidden = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    allowed = {"style-src": "'unsafe-inline'", "img-src": "data: blob:"}
    scripts = re.findall('<script(?: type="text/plain" id="plotly")?>(.*?)</script>', html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(digests) == 2
    assert directives == forbidden | allowed | {"script-src": " ".join(f"'sha256-{digest}'" for digest in digests)}
    own = html[: html.index("/**\n* plotly.js")]
    assert "://" not in own
    assert "<dt>inputs</dt><dd>x (2, 3)</dd>" in own
    assert html.count("</script>") == 3


def test_digests_hold_wherever_the_library_was_written(monkeypatch):
    """A browser reads all ends of lines as one, before it takes the digest."""
    offline = pytest.importorskip("plotly.offline")
    pages = []
    for end in ("\n", "\r\n", "\r"):
        monkeypatch.setattr(offline, "get_plotlyjs", lambda end=end: f"one;{end}two;")
        pages.append(PROFILE.to_html())
    assert pages[0] == pages[1] == pages[2]


@pytest.mark.parametrize(
    ("modules", "title"),
    [
        (["", "Net.a", "Net", "Other"], "Net, Other"),
        ([""], "Profile"),
        (list("ABCDE"), "A, B, C and 2 more"),
    ],
)
def test_a_page_is_named_by_its_outermost_modules(modules, title):
    """Unless a title is given."""
    pytest.importorskip("plotly")
    profile = Profile(replace(LINEAR, module=module) for module in modules)
    assert f"<title>{title} · opflops</title>" in profile.to_html()
    assert "<title>a &lt;b&gt; · opflops</title>" in profile.to_html(title="a <b>")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "flop"}, r"cannot show 'flop'; it can show flops, macs, .*; did you mean 'flops'\?"),
        ({"measure": "seconds"}, r"nothing was timed\. Count with OpFlopMode\(timing=True\)"),
        ({"device": "h100-sxn"}, "h100-sxm"),
        ({"fits": "80GB"}, r"memory, which was not followed\. Count with memory=True"),
    ],
)
def test_what_a_page_cannot_show_is_refused(options, message):
    """With what there is."""
    pytest.importorskip("plotly")
    with pytest.raises(ProfileError, match=message):
        PROFILE.to_html(**options)


def test_without_plotly_the_line_that_installs_it_is_told(monkeypatch):
    """In place of a traceback."""
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.delitem(sys.modules, "plotly.offline", raising=False)
    with pytest.raises(MissingExtraError, match=r"The HTML page needs plotly.*pip install 'opflops\[html\]'"):
        PROFILE.to_html()


def test_ten_thousand_rows_take_less_than_a_megabyte():
    """The library's script aside."""
    offline = pytest.importorskip("plotly.offline")
    rows = tuple(
        Row(f"Net.blocks.{row // 100}.part{row % 100}", "Linear", "aten.addmm", "forward", "float32", 1, Cost(macs=row))
        for row in range(10_000)
    )
    assert len(Profile(rows).to_html()) - len(offline.get_plotlyjs()) < 1_000_000
