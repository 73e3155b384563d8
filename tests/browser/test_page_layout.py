"""How the page uses its width, in a real browser and on paper: whole names, bars beside numbers, nothing sticks out."""

import base64
from dataclasses import replace

import pytest
import torch
from layouts import FAULTS, faults, show_at
from torch import nn
from torch.export import Dim
from torch.nn import functional

from opflops import Cost, Profile, Row, count
from opflops.example import GPT
from opflops.profile.gathering import combine_ranks

pytestmark = pytest.mark.browser

WIDTHS, THEMES = (1400, 1100, 800, 480), ("light", "dark")
LAYERS = 80


class Double(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)

    def forward(self, x):
        return functional.relu(self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x))))))


class UNet(nn.Module):
    """Two levels down and up, with skip connections."""

    def __init__(self, width=8):
        super().__init__()
        self.down0, self.down1, self.bottom = Double(3, width), Double(width, 2 * width), Double(2 * width, 4 * width)
        self.up1, self.merge1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2), Double(4 * width, 2 * width)
        self.up0, self.merge0 = nn.ConvTranspose2d(2 * width, width, 2, stride=2), Double(2 * width, width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        first = self.down0(x)
        second = self.down1(functional.max_pool2d(first, 2))
        x = self.up1(self.bottom(functional.max_pool2d(second, 2)))
        x = self.up0(self.merge1(torch.cat([second, x], 1)))
        return self.head(self.merge0(torch.cat([first, x], 1)))


def llama():
    """The rows of a causal language model of eighty equal layers, as a 70B one has them."""
    sizes = {
        "self_attn.q_proj": 8192 * 8192,
        "self_attn.k_proj": 8192 * 1024,
        "mlp.gate_proj": 8192 * 28672,
        "mlp.down_proj": 28672 * 8192,
    }
    rows = []
    for layer in range(LAYERS):
        for name, size in sizes.items():
            path, cost = f"LlamaForCausalLM.model.layers.{layer}.{name}", Cost(macs=2048 * size, bytes_read=2 * size)
            rows += [Row(path, "Linear", "aten.mm", phase, "bfloat16", 1, cost) for phase in ("forward", "backward")]
    attention = "aten._scaled_dot_product_flash_attention_for_cpu"
    for layer in range(LAYERS):
        path = f"LlamaForCausalLM.model.layers.{layer}.self_attn"
        rows += [
            Row(path, "LlamaAttention", attention, "forward", "bfloat16", 1, Cost(macs=10**11)),
            Row(path, "LlamaAttention", f"{attention}_backward", "backward", "bfloat16", 1, Cost(macs=25 * 10**10)),
        ]
    return Profile(rows)


def symbolic():
    """A formula in the batch and the length of the sequence."""
    sizes = {"ids": {0: Dim("batch"), 1: Dim("seq", max=1024)}}
    return count(GPT(layers=2), torch.zeros(2, 512, dtype=torch.int64), dynamic_shapes=sizes)


def unet():
    return count(UNet(), torch.zeros(2, 3, 32, 32), backward=True, memory=True, device="cpu")


def long_names():
    """Modules in each other, whose names are longer than any column of numbers."""
    path = "Net.feature_pyramid_network.transformer_encoder_layer.cross_attention_block.output_projection_layer"
    row = Row(path, "QuantizedTensorParallelLinear", "aten._scaled_mm", "forward", "float8_e4m3fn", 3, Cost(macs=10**9))
    return Profile([row, replace(row, op="my_library.a_fused_operator_with_a_long_name", estimate="a guess")])


def ranks():
    row = Row("Net.layers.0.linear", "Linear", "aten.mm", "forward", "bfloat16", 3, Cost(macs=10**12, sent=10**10))
    reduce = replace(row, op="c10d_functional.all_reduce", phase="backward")
    return combine_ranks({rank: Profile([row, reduce]) for rank in range(4)})


MADE = {"unet": unet, "llama": llama, "symbolic": symbolic, "long names": long_names, "ranks": ranks}


@pytest.fixture(scope="module")
def made(simple_cnn):
    """Make the profile of a name, once."""
    known = {"cnn": simple_cnn}

    def make(name):
        if name not in known:
            known[name] = MADE[name]()
        return known[name]

    return make


@pytest.mark.parametrize("name", ["cnn", *MADE])
def test_nothing_sticks_out_overlaps_or_is_cut_off(open_page, made, name):
    """At four widths, light and dark, after the page changed from one to the next."""
    page = open_page(made(name), **({"device": "h100-sxm"} if name in ("unet", "llama") else {}))
    found = {}
    for theme in THEMES:
        for width in WIDTHS:
            show_at(page, width, theme)
            found[width, theme] = faults(page)
    assert {at: each for at, each in found.items() if each} == {}


def tree_state(page):
    script = """const tree = document.getElementById('tree');
        return [tree.querySelector('table').classList.contains('stacked'),
            tree.querySelector('tbody tr[data-node]').offsetHeight,
            [...tree.querySelectorAll('thead th')].filter(({hidden}) => !hidden).map(({dataset}) => dataset.column)]"""
    return page.run(script)


def test_columns_come_back_when_there_is_room(open_page, made):
    """Numbers give way from the right order of importance; where even that is not enough a name has its own line."""
    page = open_page(made("unet"))
    shown = {}
    for width in (480, 800, 1400, 800):
        show_at(page, width)
        is_stacked, height, columns = tree_state(page)
        assert height == (54 if is_stacked else 30)
        assert columns[:3] == ["name", "share", "flops"]
        assert shown.setdefault(width, columns) == columns
    assert set(shown[480]) <= set(shown[800]) < set(shown[1400])
    assert {"params", "saved", "peak"} <= set(shown[1400])
    page = open_page(made("long names"))
    show_at(page, 480)
    assert tree_state(page)[0]
    show_at(page, 1400)
    assert not tree_state(page)[0]


def test_formulas_are_whole_somewhere(open_page, made):
    """In the cards and for the selected line; a cell has the largest term at least, never a part of one."""
    profile = made("symbolic")
    page = open_page(profile)
    for width in WIDTHS:
        show_at(page, width)
        cells = page.run(
            "return [...document.querySelectorAll('#tree td[data-column=\"flops\"]')].map("
            "({textContent, title}) => [textContent, title])"
        )
        for text, title in cells:
            full = title.split(" flops")[0]
            assert text == full or (text.endswith(" + …") and text.removesuffix(" + …") in full)
    # Where there is room, whole formulas are in the cells: first those of the chosen measure. Rather than to hide a
    # measure, a formula is shortened.
    for width, is_whole in ((2200, True), (1400, False), (1100, True)):
        show_at(page, width)
        assert (page.text('#tree tfoot [data-column="flops"]') == str(profile.total.flops)) == is_whole
        assert "macs" in tree_state(page)[2]
    page.row("head").click()
    lines = [each.text for each in page.all("#details .formula")]
    assert lines[0] == f"flops\n{profile.where(module='GPT.head').total.flops}"


def test_equal_blocks_too_narrow_for_words_are_one_area(open_page, made):
    """Of eighty layers the parts of all are drawn, with the sums over the layers; of four each layer is drawn."""
    page = open_page(made("llama"), measure="macs")
    labels, values = page.run(
        "const [{labels, values}] = document.getElementById('hierarchy').data; return [labels, values]"
    )
    areas = dict(zip(labels, values, strict=True))
    # Forward and backward.
    assert areas["gate_proj"] == 2 * LAYERS * 2048 * 8192 * 28672
    assert areas["0-79 ×80"] == made("llama").total.macs
    assert not {"0", "1", "79"} & set(labels)
    page.click_sector("mlp")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === 'mlp'")
    assert page.text("#zoomed-name") == "LlamaForCausalLM.model.layers.0.mlp"
    four = Profile([row for row in made("llama").rows if row.module.split(".")[3] in set("0123")])
    page = open_page(four)
    assert {"0-3 ×4", "0", "1", "2", "3"} <= set(page.sectors())


def test_bars_below_zero_end_at_the_axis(open_page):
    """Work that a difference takes away is left of it, work that it adds is right of it."""
    rows = [
        Row("Net", "Net", f"aten.{op}", "forward", "float32", 1, Cost(macs=macs))
        for op, macs in (("mm", 300), ("bmm", -100))
    ]
    page = open_page(Profile(rows), measure="macs")
    script = (
        "return [...document.querySelectorAll('#operators [data-phase]')].map(({style}) => [style.left, style.width])"
    )
    assert page.run(script) == [["25%", "75%"], ["0%", "25%"]]


def test_a_printed_page_has_all_rows_and_is_as_wide_as_paper(open_page, driver, made):
    """In light colors; afterwards the screen has what it had."""
    page = open_page(made("unet"))
    show_at(page, 1400, "dark")
    page.one("#expand").click()
    before = len(page.rows())
    # At once: no frame is drawn before the page is laid out for paper.
    assert page.run(f"dispatchEvent(new Event('beforeprint')); {FAULTS}") == []
    assert len(page.rows()) == int(page.run("return document.querySelector('#tree table').ariaRowCount")) - 2
    assert (
        page.run("return Math.max(...[...document.querySelectorAll('svg.main-svg')].map((each) => each.clientWidth))")
        <= 690
    )
    assert page.run("return getComputedStyle(document.querySelector('.panel')).backgroundColor") == "rgb(255, 255, 255)"
    page.run("dispatchEvent(new Event('afterprint'))")
    assert len(page.rows()) == before
    assert page.run("return getComputedStyle(document.querySelector('.panel')).backgroundColor") != "rgb(255, 255, 255)"
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000
