"""What notebooks show: HTML with the numbers of print, small, escaped and without scripts; text without quotes."""

import copy
import json
import pickle
import re
import warnings
from html import unescape
from html.parser import HTMLParser

import pytest
import torch
from torch import nn
from torch.export import Dim

from opflops import Cost, Device, OpFlopMode, Profile, Row, annotate, count, coverage, largest_size, plan
from opflops.compat import fvcore
from opflops.integrations import Throughput
from opflops.records.display import ReportText
from opflops.records.execution import Execution, Step

MAX_BYTES = 100_000
VOID = {"br", "wbr"}
BLOCKS = {"div", "details", "summary", "p", "pre", "dl", "dt", "dd", "h4"}
TAGS = VOID | BLOCKS | {"style", "span", "table", "thead", "tbody", "tr", "th", "td"}


class Checked(HTMLParser):
    """Read HTML, and check that each element is closed, and that there are no scripts and no addresses."""

    def __init__(self, html):
        super().__init__()
        self.open, self.texts, self.folded, self.continues = [], [], 0, False
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS, tag
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("href", "src")]
        self.folded += tag == "details"
        self.continues = tag == "wbr"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] != "style":
            # A place where a name may be wrapped is no end of it.
            text = self.texts.pop() + data if self.continues else data
            self.texts.append(text)
        self.continues = False


def read(shown):
    html = shown._repr_html_()
    assert len(html.encode()) < MAX_BYTES
    return Checked(html)


def numbers(text):
    return set(re.findall(r"\d{1,3}(?:,\d{3})+", text))


def test_every_object_has_a_display(mode, symbolic):
    """Each one that a cell may end with: HTML, or a sentence as plain text."""
    profile = mode.profile
    sent = Row("Net", "Net", "c10d.allreduce_", "backward", "float32", 3, Cost(sent=96), group="dp (2)")
    communication = Profile([sent]).communication()
    shown = [
        *(mode, profile, profile.memory, profile.timing, profile.total, profile.rows[0], profile.modules[0]),
        *(profile.roofline("h100-sxm"), profile.bottlenecks(), profile.bottlenecks("h100-sxm"), profile.roofline("l4")),
        *(profile.resources("h100-sxm", steps=1000, mfu=0.4), communication, communication.collectives[0]),
        *(Device("<mine>", {"float32": 1e12}, 1e11), profile.bottlenecks().operators[0], coverage("quantized")),
        *(symbolic, symbolic.scaling(), symbolic.dimensions[0], symbolic.scaling().total["seq"], symbolic.total),
        *(profile.roofline("h100-sxm").total, profile.memory.at_peak, profile - profile, profile - Profile()),
    ]
    for each in shown:
        assert "".join(read(each).texts).strip()
    sentences = [profile.mfu(0.1, "h100-sxm"), profile.memory.at, profile.memory.fits("h100-sxm")]
    for each in sentences:
        assert each._repr_mimebundle_() == {"text/plain": str(each)}


def test_the_numbers_are_those_of_print(mode, symbolic):
    """Of the module tree, the operators, memory, a roofline, a scaling and a difference; in full or as titles."""
    profile = mode.profile
    untimed = count(nn.Sequential(nn.Linear(70, 300), nn.ReLU(), nn.Linear(300, 90)), torch.ones(64, 70), backward=True)
    for each in (untimed, profile.memory, untimed.communication(), symbolic.scaling(), untimed + untimed - untimed):
        assert numbers(str(each)) <= numbers(unescape(each._repr_html_()))
    for line in untimed.roofline("l4").table().splitlines()[2:7]:
        cells = re.split(r"  +", line.strip())
        assert set(cells) <= {each.strip() for each in read(untimed.roofline("l4")).texts} or line.startswith("-")


def test_groups_of_costs_are_tables(mode, symbolic):
    """A line for each group, named by its keys, with the costs that it has; in all else they are dicts."""
    profile = mode.profile
    found = profile.by("module_type", "phase")
    shown = read(found).texts
    assert shown[:3] == ["module_type / phase", "macs", "flops"]
    assert "Conv2d / forward" in shown
    assert f"{found['Conv2d', 'forward'].macs:,}" in shown
    assert "sent" not in shown
    assert "(outside)" in read(profile.inclusive()).texts
    assert "Nothing was counted." in read(Profile().by("op")).texts
    assert "batch" in "".join(read(symbolic.by("op")).texts)
    for each in (found, pickle.loads(pickle.dumps(found)), copy.copy(found)):  # noqa: S301 - our own
        assert (each, repr(each), each.heading) == (dict(found), repr(dict(found)), "module_type / phase")


def test_a_plan_and_its_classes_have_displays():
    """By hand: 4 rows of 8 inputs by 8 outputs, forward; each rank sends nothing."""
    found = plan(lambda _mesh: nn.Linear(8, 8), torch.ones(4, 8), mesh={"dp": 4})
    for each in (found, found.classes[0]):
        assert {"256", "ranks 0-3"} <= {*read(each).texts} | {*"".join(read(each).texts).split("\n")}
    assert read(found.by("op", "rank")).texts[0] == "op / rank"


def test_the_largest_size_and_a_meter_of_steps_show_sentences():
    """As print does, and a meter at a prompt too; showing it keeps the rates that were not read."""
    net, x = nn.Linear(8, 8), torch.ones(4, 8)
    found = largest_size(net, x, dynamic_shapes=({0: Dim("batch")},), fits="1kB")
    assert found._repr_mimebundle_() == {"text/plain": str(found)}
    meter = Throughput(net, device=Device("one", {"float32": 1e12}, 1e11))
    for _ in range(3):
        with meter.step(samples=4):
            net(x)
    assert str(meter) == "Steps: 1 counted, 2 measured since rates() was called."
    rates = meter.rates()
    assert str(meter).startswith("Steps: 1 counted, 0 measured since rates() was called. Rates: ")
    assert str(meter).endswith(f", {rates['samples_per_s']:,.4g} samples/s.")
    assert f"MFU {100 * rates['mfu']:.3g} %" in repr(meter)
    assert meter._repr_mimebundle_() == {"text/plain": str(meter)}
    meter.close()


def test_symbolic_counts_show_their_formulas(symbolic):
    """In full where the pointer is, if they are long."""
    html = unescape(symbolic._repr_html_())
    assert str(symbolic.total.flops) in html
    assert "Percentages and sort order are for batch = 2, seq = 16." in html


def test_a_mode_displays_before_during_and_after_its_block():
    """And one that was never entered says so, without a warning."""
    mode, x = OpFlopMode(), torch.ones(3, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "has not been entered" in "".join(read(mode).texts)
    with mode:
        x @ x.T
        inside = "".join(read(mode).texts)
    assert "aten.mm" in inside
    assert inside == "".join(read(mode).texts)


def test_profiles_without_a_table_say_why():
    """Empty ones, and those of integers only."""
    assert "Nothing was counted." in "".join(read(Profile()).texts)
    with OpFlopMode() as mode:
        torch.arange(6) * 2
    assert "Integer work: 6 int64 operations" in "".join(read(mode).texts)


def test_names_are_escaped():
    """Markup in names of modules and operators is shown as text, also in a table that is HTML."""
    names = ["<script>alert(1)</script>", "a|b\n<b>", "卷积&amp;", '" onclick="x']
    profile = Profile([Row(name, name, f"x.{name}", "forward", "float32", 1, Cost(macs=7)) for name in names])
    shown = "".join(read(profile).texts)
    assert "<script>alert(1)</script>" in shown
    assert "卷积&amp;" in shown
    read(profile.table(tablefmt="html"))
    assert "<script>alert(1)</script>" in "".join(read(profile.table("op")).texts)
    assert read(profile.table(tablefmt="unsafehtml")).open == []


class Block(nn.Module):
    """Hold four layers, of a width that makes each block another one."""

    def __init__(self, width):
        super().__init__()
        self.q, self.k, self.up, self.down = (nn.Linear(a, b) for a, b in ((8, 8), (8, 8), (8, width), (width, 8)))

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.q(x) * self.k(x))))


@pytest.mark.parametrize(("widths", "said"), [([16] * 80, "0-79 ×80 (Block)"), (range(9, 89), "Cut: ")])
def test_large_models_stay_small(widths, said):
    """Eighty equal blocks share a line; eighty different ones are cut, which is said."""
    profile = count(nn.Sequential(*map(Block, widths)), torch.ones(2, 8))
    found = read(profile)
    assert said in "".join(found.texts)
    assert f"{profile.total.flops:,}" in unescape(profile._repr_html_())


def test_a_thousand_modules_stay_small():
    """Modules of different names and sizes, right below one; the largest are shown and the others added up."""
    names = [f"{'abcdefghij'[i % 10]}{'x' * (i // 10)}" for i in range(1000)]
    rows = [
        Row(f"Net.{name}", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=i)) for i, name in enumerate(names)
    ]
    found = read(Profile(rows))
    assert "976 other modules" in found.texts
    assert found.folded < 100


def test_the_bundle_has_what_is_asked_for(mode):
    """By include and exclude, as IPython passes them."""
    for shown in (mode, mode.profile, mode.profile.roofline("l4"), mode.table()):
        assert shown._repr_mimebundle_() == {"text/plain": str(shown), "text/html": shown._repr_html_()}
        assert shown._repr_mimebundle_(include=["text/html"]) == {"text/html": shown._repr_html_()}
        assert shown._repr_mimebundle_(exclude={"text/html"}) == {"text/plain": str(shown)}
        assert shown._repr_mimebundle_(["text/plain"], ["text/plain"]) == {}


def test_text_of_reports_is_a_string_that_shows_itself(mode):
    """Unquoted, and else a str: equal, sliced, joined, hashed, pickled, copied, and in JSON."""
    profile = mode.profile
    texts = [
        *(
            mode.table(),
            profile.table("op", tablefmt="github"),
            profile.overview(),
            profile.to_csv(),
            profile.to_folded(),
        ),
        *(profile.to_mermaid(), profile.roofline("l4").table(), profile.bottlenecks().table(2)),
        *((profile - Profile()).table(), profile.resources("l4", steps=3, mfu=0.5).summary),
        annotate(nn.Linear(2, 3), count(nn.Linear(2, 3), torch.ones(1, 2))),
    ]
    for text in texts:
        plain = "".join(text)
        assert repr(text) == str(text) == plain == text
        assert (f"{text}", hash(text), text[1:9]) == (plain, hash(plain), plain[1:9])
        assert json.loads(json.dumps({"text": text})) == {"text": plain}
        assert pickle.loads(pickle.dumps(text)) == copy.deepcopy(text) == plain  # noqa: S301 - of this test
        assert type(text[:3]) is type(text.upper()) is str


def test_tables_of_a_drop_in_show_without_quotes():
    """They are strings to programs, as the original's are."""
    net = nn.Sequential(nn.Linear(2, 3))
    analysis = fvcore.FlopCountAnalysis(net, torch.ones(1, 2))
    for text in (fvcore.flop_count_table(analysis), fvcore.flop_count_str(analysis), fvcore.parameter_count_table(net)):
        assert "\n" in text
        assert repr(text) == text == json.loads(json.dumps(text))
        assert "<pre>" in text._repr_html_()


def test_texts_display_as_what_they_are(mode):
    """A table in HTML as a table, a page as a sentence, all else as text in one width."""
    profile = mode.profile
    assert "<table>" in profile.table(tablefmt="html")._repr_html_()
    assert "<pre>" in profile.table()._repr_html_()
    assert "<pre>&lt;table&gt;</pre>" in ReportText("<table>")._repr_html_()
    page = profile.to_html()
    assert "An HTML page of" in "".join(read(page).texts)
    assert page._repr_mimebundle_()["text/plain"].startswith("An HTML page of")


def test_an_order_of_execution_is_a_table_of_steps_and_pairs():
    """The steps with their numbers, the second call of a module too; an input by its name; long ones cut."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(self.inner(x).relu())

    shown = read(count(Twice(), torch.ones(2, 4)).execution).texts
    texts = [each for each in shown if each.strip()]
    assert texts == [
        *("steps (3)", "step", "call", "operators"),
        *("0 Twice.inner", "1", "aten.addmm", "1 Twice", "1", "aten.relu", "2 Twice.inner", "2", "aten.addmm"),
        *("results used by later steps (3)", "input → 0, 0 → 1, 1 → 2"),
    ]
    assert "No step" in "".join(read(Execution((), ())).texts)
    steps = (Step("", (), ("aten.mm",)),) * 10_000
    long = "".join(read(Execution(steps, tuple((each, each + 1) for each in range(-1, 9_999)))).texts)
    assert "steps (10,000)" in long
    assert "more lines not shown" in long
    assert "more names not shown" in long
    assert "0 (outside)" in long
    assert "not known" in "".join(read(Execution(steps[:1], None)).texts)


def test_a_difference_hides_the_numbers_before_in_narrow_windows(symbolic):
    """They are those after without the change; long numbers and formulas have lines of their own instead."""
    narrow = [count(nn.Linear(4, width), torch.ones(2, 4)) for width in (3, 5)]
    html = (narrow[1] - narrow[0])._repr_html_()
    assert html.count("Hidden where there is little room: before.") == 2
    assert "data-h" not in html
    html = (symbolic * 3 - symbolic)._repr_html_()
    assert ("Hidden" in html, 'data-h="before"' in html) == (False, True)
