"""Diagrams go through Mermaid's own parser and renderer, and show what they should; speedscope opens its files."""

import base64
import json
import os
import random
import unicodedata
from pathlib import Path

import chromium
import mermaid
import pytest
import torch
from required import absent
from torch import nn

from opflops import Cost, Profile, Row, count
from opflops.example import INPUT_SHAPE, SimpleCNN

pytestmark = pytest.mark.browser
DIAGRAMS = pytest.mark.parametrize("diagram", ["state", "er"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser with Mermaid in it; where there is none, tests are skipped, unless the environment requires them."""
    if mermaid.missing():
        absent("mermaid", mermaid.missing())
    folder = tmp_path_factory.mktemp("mermaid")
    started = chromium.start(folder / "browser", "1400,1800")
    yield mermaid.open_mermaid(started, folder)
    started.quit()


def drawn(browser, profile, diagram, depth=None):
    kind, texts = mermaid.draw(browser, profile.to_mermaid(diagram, depth=depth))
    assert kind == {"state": "stateDiagram", "er": "er"}[diagram]
    return texts


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.conv2(torch.relu(self.norm(self.conv1(x)))))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.layers = nn.ModuleList(nn.Sequential(Block(8), Block(8)) for _ in range(2))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean((2, 3)))


def test_states_of_the_example_are_drawn(browser):
    """Each layer in order with its cost, those that a forward makes on the fly too."""
    texts = drawn(browser, count(SimpleCNN(), torch.ones(INPUT_SHAPE)), "state")
    assert [text for text in texts if "flops" in text][-1] == "SimpleCNN: 2.688 M flops"
    for label in (
        "conv1 (Conv2d)792.0 k flops",
        "ReLU()20.01 k flopsin 4 calls",
        "fc3 (Linear)1.690 k flops",
    ):
        assert label in [text.replace("\n", "") for text in texts]


def test_entities_of_the_example_are_drawn(browser):
    """The relation, and ids, types and flops of layers."""
    texts = drawn(browser, count(SimpleCNN(), torch.ones(INPUT_SHAPE)), "er")
    assert {"contains", "SimpleCNN", "LAYER", "SimpleCNN.conv1", "Conv2d", "792,000"} <= set(texts)


@DIAGRAMS
@pytest.mark.parametrize(
    "profile",
    [
        lambda: count(ResNet(), torch.ones(1, 3, 16, 16), backward=True, optimizer=torch.optim.Adam),
        lambda: count(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 12, enable_nested_tensor=False
            ),
            torch.ones(2, 8, 32),
            backward=True,
        ),
        lambda: count(
            nn.Sequential(*(nn.Linear(8 + i, 9 + i, device="meta") for i in range(1000))),
            torch.ones(2, 8, device="meta"),
        ),
        lambda: count(
            nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1)),
            torch.ones(2, 4),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        ),
        lambda: count(lambda x: nn.Linear(4, 4)(nn.ReLU()(x)) @ x.T, torch.ones(4, 4)),
        Profile,
    ],
    ids=["resnet", "transformer", "thousand", "symbolic", "several roots", "nothing"],
)
def test_models_of_all_kinds_are_drawn(browser, profile, diagram):
    """Nested blocks, backward and optimizer, more layers than fit, expressions, several roots, nothing at all."""
    assert drawn(browser, profile(), diagram)


@DIAGRAMS
@pytest.mark.parametrize(
    "rows",
    [
        [Row(f"Net.l{n}", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=n + 1)) for n in range(300)],
        [
            Row(f"Net.block{n}.{name}", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=n * n + 1))
            for n in range(9)
            for name in ("query", "key", "value", "projection")
        ],
    ],
    ids=["wide", "deep"],
)
def test_diagrams_fit_what_can_be_read(browser, rows, diagram):
    """The picture's height in pixels is at most about 2,800, as drawn."""
    drawn(browser, Profile(rows), diagram)
    height = browser.execute_script("return document.querySelector('#out svg').viewBox.baseVal.height")
    assert 500 < height < 3_000


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)])
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.dec = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        kept = self.enc[0](x)
        return self.dec(torch.cat([self.up(self.enc[1](self.pool(kept))), kept], 1))


@pytest.mark.parametrize(
    ("model", "shape", "dashed"),
    [
        # From the first encoder to the decoder.
        (UNet, (1, 3, 8, 8), 1),
        # The input of the block goes to its sum, in each of two equal blocks, which are one.
        (lambda: nn.Sequential(Block(4), Block(4)), (1, 4, 8, 8), 1),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU()), (2, 4), 0),
    ],
    ids=["U-Net", "residual", "chain"],
)
def test_data_that_leads_past_states_is_dashed(browser, model, shape, dashed):
    """Those arrows alone, with a label; the line to the note has shorter dashes."""
    texts = drawn(browser, count(model(), torch.ones(shape)), "state")
    assert texts.count("data") == dashed
    dashes = browser.execute_script(
        "const arrows = [...document.querySelectorAll('#out path.transition')];"
        "const dashes = (each) => getComputedStyle(each).strokeDasharray;"
        "return arrows.map((each) => [each.classList.contains('note-edge'), dashes(each)])"
    )
    assert sum(pattern == "6px, 4px" for _, pattern in dashes) == dashed
    assert [pattern for is_note, pattern in dashes if is_note] != ["6px, 4px"]


HOSTILE = [
    *('say "hi"', "a[0]", "a;b", "#35;", "#quot;", "<b>x</b>", "<script>alert(1)</script>", "end", "state", "note"),
    *("[*]", "-->", "a --> b", "%% no", "%%{init: {}}%%", "---", "as s1", "{", "}", "}}", "||--o{", "direction LR"),
    *("größe", "层", "🦊", "a\nb", "a\tb", "\x00", "\u2028", "\u202e", "`md`", "**bold**", "_it_", "~~~", "$$x$$"),
    *("&amp;", "&", "\\", "\\n", "'", "classDef a fill:#f00;", "style x:y#z;", "click a", "accTitle: x", "<<fork>>"),
    *(
        "end note",
        "note left of s1",
        "s1",
        "s1 --> s2 : data",
        "fork",
        "choice",
        "hide empty description",
        "accDescr {",
    ),
    *("<br/>", "&nbsp;", "#35", "# 1", "--", "..", "a;", ";", '"', "'\"'", '\\"', "$1", "%", "100 %%", "[*] --> s1"),
    *("fa:fa-ban", "a:b", "::: c", "a" * 300, " ", "https://x.org", "1. one", "- one", "LAYER", "MODEL"),
]


@DIAGRAMS
@pytest.mark.parametrize("names", [HOSTILE[start::6] for start in range(6)], ids=ascii)
def test_hostile_names_are_shown_as_they_are(browser, names, diagram):
    """As module, as class and as root: nothing in a name is taken for Mermaid, Markdown or HTML."""
    rows = [
        row
        for name in names
        for row in (
            Row(f"{name}.{name}", name, "aten.mm", "forward", "float32", 1, Cost(macs=8)),
            Row(f"{name}.other.{name}", name, "aten.mm", "backward", "float32", 1, Cost(macs=8)),
            Row(name, name, "aten.add", "forward", "float32", 1, Cost(ops=8)),
        )
    ]
    shown = " ".join(" ".join(drawn(browser, Profile(rows), diagram, depth=9)).split())
    for name in names:
        printable = "".join(each if each.isprintable() else repr(each)[1:-1] for each in name)
        assert len(name) > 60 or " ".join(printable.split()) in shown


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_root_is_a_title(browser, name):
    """The title is YAML, where other characters mean something."""
    rows = [Row(f"{name}.fc", name, "aten.mm", "forward", "float32", 1, Cost(macs=8))]
    text = Profile(rows).to_mermaid()
    assert (
        browser.execute_async_script(
            "const [text, done] = arguments; mermaid.parse(text).then(() => done(true), error => done(String(error)))",
            text,
        )
        is True
    ), text


@DIAGRAMS
@pytest.mark.parametrize("seed", range(8))
def test_random_names_are_drawn(browser, seed, diagram):
    """Characters of all kinds, in modules nested at random."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    assigned = [chr(code) for code in range(0x3000) if unicodedata.category(chr(code)) != "Cn"]
    alphabet = [*map(chr, range(0x20, 0x7F))] * 20 + assigned

    def name():
        return "".join(chance.choices(alphabet, k=chance.randint(1, 12))).replace(".", "-")

    known = [name()]
    for _ in range(15):
        known.append(f"{chance.choice(known)}.{name()}")
    rows = [Row(path, name(), "aten.mm", "forward", "float32", 1, Cost(macs=8)) for path in known]
    assert drawn(browser, Profile(rows), diagram)


def test_speedscope_opens_its_file(browser, tmp_path):
    """The real application imports a profile without an error, and lists its profiles."""
    page = Path(os.environ.get("OPFLOPS_SPEEDSCOPE", ""))
    if not page.is_file():
        absent("speedscope", "OPFLOPS_SPEEDSCOPE is to name npm's speedscope/dist/release/index.html")
    profile = count(ResNet(), torch.ones(1, 3, 16, 16), backward=True)
    content = base64.b64encode(profile.to_speedscope().encode()).decode()
    script = tmp_path / "profile.js"
    script.write_text(f"speedscope.loadFileFromBase64('resnet.json', {json.dumps(content)})", encoding="utf-8")
    before = browser.current_url
    browser.get_log("browser")
    try:
        browser.get(f"{page.resolve().as_uri()}#localProfilePath={script}")
        found = browser.execute_async_script(
            """
            const done = arguments[0];
            const look = (left) => {
                const text = document.body.innerText;
                if (/all phases: flops/.test(text) || !left) done(text);
                else setTimeout(look, 100, left - 1);
            };
            look(100);
            """
        )
        assert "all phases: flops" in found
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    finally:
        browser.get(before)
