"""Names and uses that other counters have: errors say where what was meant is."""

import copy
import pickle
import pydoc

import pytest
import torch
from torch import nn

from opflops import Cost, OpFlopMode, OpflopsError, Profile
from opflops.records import other_names

NET, X = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.ones(2, 4)


@pytest.fixture(scope="module")
def mode():
    with OpFlopMode(memory=True, timing=True) as m:
        NET(X).sum().backward()
    return m


@pytest.mark.parametrize(
    ("name", "sentence"),
    {
        "total_flops": "OpFlopMode has no attribute 'total_flops'. Write m.flops.",
        "get_total_flops": "OpFlopMode has no attribute 'get_total_flops'. Write m.flops.",
        "by_module": "OpFlopMode has no attribute 'by_module'. Write m.profile.inclusive().",
        "rows": "OpFlopMode has no attribute 'rows'. Its profile has: m.profile.rows.",
        "get_table": "OpFlopMode has no attribute 'get_table'. Write m.table().",
        "reset": (
            "OpFlopMode has no attribute 'reset'. It counts what runs in its block, afresh each time: "
            "with OpFlopMode() as m: model(x)."
        ),
    }.items(),
)
def test_a_mode_says_where_a_result_is(mode, name, sentence):
    """Those of its profile, and those that other libraries name otherwise."""
    with pytest.raises(OpflopsError) as caught:
        getattr(mode, name)
    assert str(caught.value) == sentence
    assert isinstance(caught.value, AttributeError)
    assert not hasattr(mode, name)
    assert name not in dir(mode)
    assert f" |  {name}\n" not in pydoc.render_doc(OpFlopMode)


@pytest.mark.parametrize(
    ("name", "sentence"),
    {
        "gflops": "Profile has no attribute 'gflops'. Write p.flops / 1e9.",
        "peak_memory": (
            "Profile has no attribute 'peak_memory'. Write p.memory.peak, of a block or count with memory=True."
        ),
        "xyzzy": "Profile has no attribute 'xyzzy'.",
        "to_htm": "Profile has no attribute 'to_htm'. Did you mean to_html?",
    }.items(),
)
def test_a_profile_says_where_a_result_is(mode, name, sentence):
    """As a mode does."""
    with pytest.raises(AttributeError) as caught:
        getattr(mode.profile, name)
    assert str(caught.value) == sentence


def test_a_subclass_may_have_such_a_name():
    """As an attribute of the class, or of an object."""

    class Mode(OpFlopMode):
        report = "mine"

    mode = Mode()
    mode.rows = 3
    assert (mode.report, mode.rows) == ("mine", 3)
    assert {"report", "rows"} <= {*dir(mode)}


def test_what_the_sentences_say_works(mode):
    """For a mode and a profile that have everything; no name stands for two things, or for what there is."""
    names = [name for each in other_names._HERE.values() for name in each.split()]
    assert len({*names}) == len(names)
    profile = mode.profile
    for here in other_names._HERE:
        for text in (here.format("m", "m.profile"), here.format("p", "p")):
            code = text.partition(",")[0] if " of a block" in text else text
            eval(code, {"m": mode, "p": profile})  # noqa: S307 - the sentences' own code
    for holder in (mode, profile):
        assert not {*names} & {*dir(holder)}


def test_an_attribute_error_inside_a_property_is_not_hidden(monkeypatch, mode):
    """Python asks for the missing attribute in its place."""
    monkeypatch.setattr(Profile, "macs", property(lambda _: torch.no_such_name))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mode.profile.macs


def test_private_names_are_missing_as_in_python(mode):
    """Protocols of Python and notebooks look for them."""
    for holder in (mode, mode.profile):
        with pytest.raises(AttributeError, match=f"'{type(holder).__name__}' object has no attribute '__len__'"):
            holder.__len__  # noqa: B018
    pickled = pickle.loads(pickle.dumps(mode.profile))  # noqa: S301 - made here
    assert copy.deepcopy(mode.profile) == pickled == mode.profile


@pytest.mark.parametrize("use", [copy.copy, copy.deepcopy, pickle.dumps, lambda m: copy.deepcopy([m])])
def test_a_mode_is_not_copied(use, mode):
    """Its profile is."""
    for each in (mode, OpFlopMode()):
        with pytest.raises(TypeError, match=r"An OpFlopMode cannot be copied or pickled, .* profile: m\.profile\."):
            use(each)


def test_a_cost_is_not_one_number():
    """It has several, of which one is divided or formatted."""
    cost = Cost(macs=1500, ops=7)
    with pytest.raises(TypeError, match=r"cannot be divided by 1000000000\.0\. .* as in cost\.flops / 1e9\."):
        cost / 1e9
    with pytest.raises(TypeError, match="cannot be divided by 2"):
        cost // 2
    with pytest.raises(TypeError, match=r"no format ','\. Write one of them, as in f'{cost\.flops:,}'\."):
        f"{cost:,}"
    assert f"{cost.flops:,} {cost}" == "3,007 Cost(macs=1500, ops=7)"
