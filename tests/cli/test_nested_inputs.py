"""Inputs that are items of dicts and lists, by keys and numbers after points."""

import pytest
import torch

from opflops.cli.inputs import make_named, parse, parse_inputs
from opflops.errors import TargetError

X = "\N{MULTIPLICATION SIGN}"
MODELS = '''
from torch import nn


class OfBatch(nn.Module):
    """Takes one dict, with another one in it."""

    def __init__(self):
        super().__init__()
        self.words, self.fc = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, batch):
        return self.fc(self.words(batch["ids"])) * batch["masks"]["text"].unsqueeze(-1)


class OfImages(nn.Module):
    """Takes a tensor, a list and what is left over."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x, images, scale=1):
        return [self.fc(x) * scale, *map(self.fc, images)]


class OfKeywords(OfImages):
    def forward(self, **batch):
        return self.fc(batch["x"]["deep"])
'''
BATCH = ("--input", "batch.ids=2,5:int64", "--input", "batch.masks.text=2,5")
IMAGES = ("--input", "2,4", "--input", "images.0=3,4", "--input", "images.1=5,4")


@pytest.fixture(autouse=True)
def models(project):
    """A file of models that take dicts and lists."""
    (project / "nested.py").write_text(MODELS, encoding="utf-8")


def test_a_dict_is_given_by_its_keys(counted, run):
    """2 x 5 words of 4 numbers times 3 columns; the header shows the dict."""
    assert counted("nested.py:OfBatch", *BATCH).total.macs == 2 * 5 * 4 * 3
    header = " ".join(run("nested.py:OfBatch", *BATCH)[1].split())
    assert f"batch={{ids: 2{X}5 int64, masks: {{text: 2{X}5 float32}}}}" in header


def test_a_list_is_given_by_numbers_beside_other_inputs(counted):
    """In any order; 2 + 3 + 5 rows of 4 numbers times 3 columns."""
    assert counted("nested.py:OfImages", *IMAGES).total.macs == (2 + 3 + 5) * 12
    assert counted("nested.py:OfImages", *IMAGES[2:4], *IMAGES[4:], *IMAGES[:2]).total.macs == (2 + 3 + 5) * 12
    named = ("--input", "x=2,4", "--input", "scale=1", *IMAGES[2:])
    assert counted("nested.py:OfImages", *named).total.macs == (2 + 3 + 5) * 12


def test_keywords_that_forward_takes_all_of_may_be_dicts(counted):
    """A signature that has ``**batch`` names nothing."""
    assert counted("nested.py:OfKeywords", "--input", "x.deep=7,4").total.macs == 7 * 12


def test_axes_of_items_are_dimensions(counted):
    """Of a dict and of a list, where the other items stay as they are."""
    dims = ("--dim", "b=batch.ids:0", "--dim", "b=batch.masks.text:0")
    assert str(counted("nested.py:OfBatch", *BATCH, *dims).total.macs) == "60*b"
    assert str(counted("nested.py:OfImages", *IMAGES, "--dim", "n=images.1:0").total.macs) == "12*n + 60"


def test_the_batch_is_that_of_the_items_of_a_dict(counted):
    """Which replaces their leading sizes too."""
    assert counted("nested.py:OfBatch", *BATCH, "--batch", "7").total.macs == 7 * 5 * 12


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (["2,4", "image=3,4"], "OfImages.forward has no parameter 'image'; did you mean images?"),
        (["2,4", "zz=3,4"], "has no parameter 'zz'; it has x, images, scale."),
        (["2,4", "images.1=3,4"], "Number the items of a list from 0 on, as in images.0 and images.1"),
        (["2,4", "images.0=3,4", "images.b=3,4"], "or give all items keys, as in images.ids"),
        (["2,4", "images.0=3,4", "images=3,4"], "images as a tensor, and images.0 as an item"),
        (["2,4", "images=3,4", "images.0=3,4"], "images as a tensor, and images.0 as an item"),
        (["images..0=3,4"], "or an item of one, as in batch.ids=2,128:int64"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_an_item_shows_the_right_form(mistaken, inputs, words):
    """In one sentence."""
    assert words in mistaken("nested.py:OfImages", *(word for each in inputs for word in ("--input", each)))


def test_a_key_in_place_of_the_dict_is_met_with_the_form_of_an_item(mistaken):
    """Where forward takes one thing, which may be a dict; a key that is missing is named by the model."""
    words = mistaken("nested.py:OfBatch", "--input", "ids=2,5:int64")
    assert words.endswith("If batch is a dict with the key 'ids', write --input batch.ids=2,5:int64.")
    assert "KeyError: 'masks'" in mistaken("nested.py:OfBatch", *BATCH[:2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--batch", "2"), "images.0 is an item of a list. Give all sizes in --input"),
        (("--dim", "n=images:0"), "images is a list, which has no axes. Name an item of it: images.0, images.1."),
        (("--dim", "n=images.2:0"), "There is no input 'images.2'; there are x, images.0, images.1"),
    ],
)
def test_options_on_inputs_name_items(mistaken, options, words):
    """Where a whole list will not do, or an item does not exist."""
    assert words in mistaken("nested.py:OfImages", *IMAGES, *options)


def test_items_make_nested_dicts_and_lists():
    """A dict of a list of dicts, with the sizes and dtypes that were given."""
    specs = parse_inputs(["a.b.1.c=2:bool", "a.b.0.c=3", "a.d=4", "e=5"])
    made = make_named([*specs, parse("6,6")], torch.float64)
    assert [[*each] for each in made["a"]["b"]] == [["c"], ["c"]]
    assert made["a"]["b"][1]["c"].dtype == torch.bool
    assert (made["a"]["b"][0]["c"].shape, made["a"]["d"].dtype, made["e"].shape) == ((3,), torch.float64, (5,))
    assert [*made] == ["a", "e"]


@pytest.mark.parametrize("name", ["0.ids", "batch.", ".ids", "a b.c"])
def test_an_item_has_an_argument_and_keys(name):
    """The first part is a name of forward's, and none is empty."""
    with pytest.raises(TargetError, match="cannot be an argument"):
        parse(f"{name}=1,2")
