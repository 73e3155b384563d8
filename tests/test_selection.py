"""Questions to a profile: what selects rows, what has the answer 0, and what has no answer."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from opflops import Cost, OpFlopMode, Profile, count
from opflops.errors import FormulaError, ProfileArgumentError, ProfileError

ADDMM = 2 * (2 * 3 * 4 * 3) + 2 * 3 * 4  # both layers of the block
HEAD = 2 * 4 * 5


class Block(nn.Module):
    """Two layers of 2 x 12 and 12 products each."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 3), nn.Linear(3, 4)

    def forward(self, x):
        return self.down(self.up(x))


class Net(nn.Module):
    """Two blocks, of which the names of the second begin like those of the first, and a head."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.blocks2 = Block()
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        for block in (*self.blocks, self.blocks2):
            x = block(x)
        return self.head(x.relu())


NET = count(Net(), torch.ones(2, 4))
BLOCK = 2 * (4 * 3 + 3 * 4)


@pytest.mark.parametrize("profile", [NET, Profile.from_json(NET.to_json())], ids=["counted", "saved"])
@pytest.mark.parametrize(
    ("question", "macs"),
    [
        ({"module": "Net.blocks.0", "below": True}, BLOCK),
        ({"module": "Net.blocks.0.*"}, BLOCK),
        ({"module": "Net.blocks", "below": True}, 2 * BLOCK),
        ({"module": "Net.blocks.*"}, 2 * BLOCK),
        ({"module": ("Net.blocks.1.*", "Net.head")}, BLOCK + HEAD),
        ({"module": "Net", "below": True}, 3 * BLOCK + HEAD),
        ({"module": "Net.blocks.0", "below": False}, 0),
        ({"module": "Net"}, 0),  # it calls relu itself
        ({"module": "Net.head"}, HEAD),
        ({"module": lambda path: path.endswith("up")}, 3 * 24),
        ({"module": ""}, 0),
        ({"op": "addmm"}, 3 * BLOCK + HEAD),
        ({"op": "aten::addmm"}, 3 * BLOCK + HEAD),
        ({"op": "aten.addmm.default"}, 3 * BLOCK + HEAD),
        ({"op": torch.ops.aten.addmm}, 3 * BLOCK + HEAD),
        ({"op": torch.ops.aten.addmm.default}, 3 * BLOCK + HEAD),
        ({"op": ["relu", "addmm"], "module_type": nn.Linear}, 3 * BLOCK + HEAD),
        ({"dtype": "float"}, 3 * BLOCK + HEAD),
        ({"op": []}, 0),
        # What exists, and is only absent.
        ({"op": "aten.mm"}, 0),
        ({"op": "mm"}, 0),
        ({"op": "higher_order.cond"}, 0),
        ({"op": "torchvision::nms"}, 0),
        ({"phase": "backward"}, 0),
        ({"phase": ("recompute", "optimizer")}, 0),
        ({"dtype": torch.bfloat16}, 0),
        ({"dtype": "half"}, 0),
        ({"module_type": "Dropout"}, 0),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],
)
def test_what_exists_has_an_answer(profile, question, macs):
    """By hand: 48 products in each block and 40 in the head. What is left out has the rest."""
    assert profile.where(**question).total.macs == macs
    assert profile.where_not(**question).total.macs == 3 * BLOCK + HEAD - macs
    assert {*profile.where(**question).rows, *profile.where_not(**question).rows} == {*profile.rows}


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ({"phase": "fwd"}, "phase='fwd'.*forward, backward, recompute, optimizer"),
        ({"phase": "backwards"}, "phase='backwards'.*backward"),
        ({"op": "aten.adm"}, "no operator 'aten.adm'; did you mean .*aten.addmm"),
        ({"op": "softmx"}, "no operator 'softmx'; did you mean .*aten.softmax"),
        ({"op": "aten.rellu"}, "did you mean aten.relu"),
        ({"op": "mylib.swiglu"}, "no operator 'mylib.swiglu'; this profile has .*aten.addmm"),
        ({"op": "aten.addmm.nothing"}, "no operator 'aten.addmm.nothing'"),
        ({"op": ("aten.addmm", "aten.adm")}, "aten.adm"),
        ({"module": "Net.block.0"}, "no module 'Net.block.0'; did you mean .*Net.blocks.0"),
        ({"module": "Net.haed", "below": True}, "did you mean Net.head"),
        ({"module": "Net.blocks.7.*"}, "no module 'Net.blocks.7'"),
        ({"module": "Net.blocks.0"}, "'Net.blocks.0', which leaves all work .*below=True"),
        ({"dtype": "flaot16"}, "no dtype 'flaot16'; did you mean .*float16"),
        ({"module_type": "Liner"}, "no module type 'Liner'; there are .*Linear"),
        ({"op": "addmm", "below": True}, "below=True without module="),
        ({"modul": "Net"}, "'modul'; rows have .* Did you mean 'module'"),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],
)
def test_what_does_not_exist_is_an_error_with_the_nearest(question, sentence):
    """No answer rather than 0, of the opposite question too."""
    with pytest.raises(ProfileError, match=f"^where\\(\\) got .*{sentence}"):
        NET.where(**question)
    with pytest.raises(ProfileError, match=r"^where_not\(\) got "):
        NET.where_not(**question)


def test_nothing_but_nothing_is_left_out_by_no_condition():
    """where() keeps everything; where_not() has no question."""
    assert NET.where() == NET
    with pytest.raises(ProfileError, match=r"where_not\(\) needs one or more of module"):
        NET.where_not()


def test_an_operator_of_a_library_that_is_not_loaded_is_found_in_a_profile_that_has_it():
    """As in a saved profile; the same name is unknown elsewhere."""
    text = NET.to_json().replace("aten.relu", "mylib.rectify")
    saved = Profile.from_json(text)
    assert len(saved.where(op="mylib.rectify").rows) == len(saved.where(op="rectify").rows) == 1
    with pytest.raises(ProfileError, match=r"did you mean mylib\.rectify"):
        saved.where(op="mylib.rectfy")


def test_a_module_that_did_nothing_was_called_all_the_same():
    """It may be asked for, by itself and with what is below it."""
    p = count(nn.Sequential(nn.Identity(), nn.ReLU()), torch.ones(3))
    assert p.where(module="Sequential.0").rows == p.where(module="Sequential.0", below=True).rows == ()
    assert p.call_sites("Sequential.0") == {}


def test_cases_are_selected_by_the_same_names():
    """A module that only some sizes call exists for all of them."""

    def program(x):
        return x @ x.T if x.shape[0] > 1 else x.exp()

    p = count(program, torch.ones(4, 3), dynamic_shapes=({0: Dim("n")},))
    assert p.where(op="exp").at(n=1).total.transcendentals == 3
    assert p.where_not(op="exp").at(n=1).total.transcendentals == 0
    assert p.where(op="mm").at(n=5).total.macs == 75


def test_call_sites_of_an_unknown_module_are_an_error():
    """No module, no sites."""
    with pytest.raises(ProfileError, match=r"call_sites\(\) got module='Net.haed'.*Net.head"):
        NET.call_sites("Net.haed")
    assert NET.call_sites("Net.head")[""].macs == HEAD


@pytest.mark.parametrize(
    ("ask", "caller"),
    [
        (lambda p: p.by("modul"), "by()"),
        (lambda p: p.table(by="modul"), "table(by=…)"),
        (lambda p: p.roofline("h100-sxm", by="modul"), "roofline(by=…)"),
    ],
)
def test_an_unknown_key_is_named_with_what_asked_for_it(ask, caller):
    """Each function by its own name, and with the nearest key."""
    with pytest.raises(ProfileError) as caught:
        ask(NET)
    assert str(caught.value).startswith(f"{caller} got 'modul'; rows have module, ")
    assert str(caught.value).endswith("Did you mean 'module'?")


def test_integer_work_alone_is_said_in_place_of_an_empty_table():
    """Five additions of int64; programs that read a table still get one."""
    with OpFlopMode() as m:
        torch.arange(5).add(1)
    for text in (str(m), m.table(), m.table(by="op"), m.profile.where(dtype="int64").table(by=("op", "dtype"))):
        assert text.startswith("No floating-point work was counted, so there is no table: 2 calls of int64")
        assert "Integer work: 5 int64 operations in 1 call." in " ".join(text.split())
        assert "---" not in text
    assert m.table(by="op", tablefmt="tsv").splitlines()[-1].startswith("total")
    with OpFlopMode() as m:
        torch.ones(5).add(1)
    assert "No floating-point work" not in str(m)


def test_a_class_is_no_model():
    """count() says that it needs an instance."""
    with pytest.raises(Exception, match=r"count\(\) needs an instance of Linear, but it was given the class"):
        count(nn.Linear, 4, 2)


@pytest.mark.parametrize(
    ("device", "sentence"), [("foo", "does not know device='foo'"), ("meta", "device='meta' is for tensors on meta")]
)
def test_a_device_that_would_have_no_effect_is_an_error(device, sentence):
    """Tensors on the CPU are counted there."""
    with pytest.raises(Exception, match=sentence):
        count(nn.Linear(4, 2), torch.ones(3, 4), device=device)
    assert count(nn.Linear(4, 2), torch.ones(3, 4), device="cpu").total.macs == 24


@pytest.mark.parametrize(
    "given", ["profile.json", "runs/before", r"runs\\before.json", __import__("pathlib").Path("a")]
)
def test_a_path_is_no_profile(given):
    """The error says how to read the file."""
    with pytest.raises(ProfileError, match=r"Profile\.load\(name\)"):
        Profile.from_json(given)


def test_tf32_is_part_of_a_devices_name():
    """As on the command line."""
    p = count(nn.Linear(64, 64), torch.ones(64, 64))
    assert p.roofline("h100-sxm:tf32") == p.roofline("h100-sxm", tf32=True)
    assert p.roofline("h100-sxm:TF32").total.arithmetic_seconds < p.roofline("h100-sxm").total.arithmetic_seconds
    with pytest.raises(ProfileError, match="unknown suffix :tf64; only :tf32"):
        p.roofline("h100-sxm:tf64")
    with pytest.raises(ProfileError, match=r"A device is a name, such as 'h100-sxm'.*not 3"):
        p.roofline(3)


def test_a_roofline_shows_the_largest_parts_and_adds_up_the_others():
    """The shares of the lines add up to the whole."""
    bounds = NET.roofline("h100-sxm")
    lines = bounds.table(top=1).splitlines()
    assert "aten.addmm" in lines[2]
    assert lines[3].startswith("1 other ")
    assert float(lines[2].split()[-2]) + float(lines[3].split()[-2]) == pytest.approx(100)
    assert bounds.table() == str(bounds)
    with pytest.raises(ProfileError, match="top must be 1 or more"):
        bounds.table(top=0)


def test_a_formula_cannot_take_work_away():
    """Costs of work are 0 or more; differences may be negative."""
    for cost in (Cost(ops=-1), Cost(macs=3, bytes_read=-4)):
        formulas = {torch.ops.aten.exp: lambda self, cost=cost: cost}
        with OpFlopMode(formulas=formulas), pytest.raises(FormulaError, match=r"aten.exp returned -\d as .* 0 or more"):
            torch.ones(3).exp()
    assert (Cost(ops=1) - Cost(ops=2)).ops == -1


@torch.library.custom_op("selection::unpriced", mutates_args=())
def unpriced(x: torch.Tensor) -> torch.Tensor:
    """An operator without a formula."""
    return x.clone()


def test_a_warning_names_the_line_of_the_users_code():
    """Not one of opflops, nor of PyTorch's modules that call it."""

    class Calls(nn.Module):
        def forward(self, x):
            return unpriced(x)

    with pytest.warns(match="selection.unpriced in module Sequential.0 has no formula") as caught, OpFlopMode():
        nn.Sequential(Calls())(torch.ones(3))
    (warning,) = caught
    assert warning.filename == __file__
    assert warning.lineno == Calls.forward.__code__.co_firstlineno + 1


@pytest.mark.parametrize("keys", [("op", "phase"), ["op", "phase"]])
def test_several_keys_in_one_argument_get_the_right_call(keys):
    """As data frames take them, and by() does not."""
    with pytest.raises(ProfileArgumentError, match=r"Write by\('op', 'phase'\)\."):
        Profile().by(keys)
