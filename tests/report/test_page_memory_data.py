"""What the page is told of modules and of memory: sums over the tree, shapes, a thinned timeline."""

import re
from dataclasses import replace
from importlib.resources import files
from itertools import combinations, pairwise

import pytest
import sympy
from test_page_data import NUMBERS, paths
from test_rows import INDEX, LINEAR

from opflops import Profile
from opflops.records.dimensions import Dimension
from opflops.records.memory import CATEGORIES, LiveBytes, Memory, Moment, Sample
from opflops.records.modules import CallShapes, ModuleRecord, SharedParameter, TensorShape
from opflops.report import Symbolic
from opflops.report.page.data import profile_data
from opflops.report.page.memory_data import thin
from opflops.report.text.keepers import Keeper, group_keepers

ROWS = (replace(LINEAR, module="Net.a", activations=6), replace(LINEAR, module="Net.b.c", activations=4))
CALLS = (CallShapes((TensorShape((2, 3), "float32"),), (TensorShape((2, 5), "bfloat16"),), 4),)
MODULES = (
    ModuleRecord("Net", "Net", 1, 0, 4),
    ModuleRecord("Net.a", "Linear", 10, 10, 40, 3, 24, calls=CALLS),
    ModuleRecord("Net.b.c", "Linear", 100, 60, 200, shared=(SharedParameter("weight", "Net.a", 8),)),
    ModuleRecord("Net.idle", "Linear", 1000, 0, 4000),
    ModuleRecord("Net.empty", "Identity"),
)


def by_path(data, values):
    """Name nodes by their paths."""
    names = paths(data)
    return {".".join(names[node]): value for node, value in values.items()}


def test_parameters_are_sums_over_modules():
    """Own ones and those below, also of modules that did nothing, which stand in the tree so that these add up."""
    data = profile_data(ROWS, NUMBERS, MODULES)
    assert data["modules"]["sums"] == ("parameters", "trainable", "parameter_bytes", "buffers", "buffer_bytes")
    assert data["modules"]["total"] == [1111, 70, 4244, 3, 24]
    assert by_path(data, data["modules"]["nodes"]) == {
        "Net": [1111, 70, 4244, 3, 24, 1],
        "Net.a": [10, 10, 40, 3, 24, 10],
        "Net.b": [100, 60, 200, 0, 0, 0],
        "Net.b.c": [100, 60, 200, 0, 0, 100],
        "Net.idle": [1000, 0, 4000, 0, 0, 1000],
    }
    assert ("Net", "empty") not in paths(data)
    types = dict(zip(paths(data), (data["strings"][place] for place in data["nodes"]["type"]), strict=True))
    assert (types["Net",], types["Net", "b"], types["Net", "idle"]) == ("Net", "", "Linear")


def test_shared_parameters_and_shapes_are_told():
    """By the module that registers them again, with the owner; shapes as text, calls added up."""
    data = profile_data(ROWS, NUMBERS, MODULES)
    strings = data["strings"]
    ((name, owner, elements),) = by_path(data, data["modules"]["shared"])["Net.b.c"]
    assert (strings[name], strings[owner], elements) == ("weight", "Net.a", 8)
    assert by_path(data, data["modules"]["shared"]).keys() == {"Net.b.c"}
    ((inputs, outputs, calls),) = by_path(data, data["modules"]["calls"])["Net.a"]
    assert (strings[inputs], strings[outputs], calls) == ("2×3 float32", "2×5 bfloat16", 4)


def test_many_shapes_are_cut_and_counted():
    """The first six calls, and how many calls are left; of many tensors the first eight. Symbols stay symbols."""
    batch = sympy.Symbol("batch")
    wide = CallShapes((TensorShape((2 * batch, 1000), "float32"),) * 10, (), 1)
    calls = (wide, *(CallShapes((TensorShape((size,), "int64"),), (), size) for size in range(1, 9)))
    data = profile_data(ROWS, NUMBERS, (replace(MODULES[1], calls=calls),))
    written = by_path(data, data["modules"]["calls"])["Net.a"]
    strings = data["strings"]
    assert strings[written[0][0]] == ", ".join(["(2*batch)×1000 float32"] * 8 + ["and 2 more"])
    assert strings[written[0][1]] == "no tensor"
    assert [calls for *_, calls in written] == [1, 1, 2, 3, 4, 5, 6 + 7 + 8]
    assert written[-1][:2] == [-1, -1]


def test_activations_are_a_count_of_rows():
    """Expressions too, term by term."""
    assert profile_data(ROWS, NUMBERS)["rows"]["activations"] == [6, 4]
    batch = sympy.Symbol("batch")
    data = profile_data((replace(LINEAR, activations=3 * batch),), Symbolic((Dimension("batch", 7),)))
    assert data["counts"]["terms"][0][0] == "batch"
    assert data["rows"]["activations"] == [[(0, "3")]]


def moment(number, module="Net.a", op="aten.mm"):
    return Moment(module, op, "forward", f"net.py:{number}", number)


def test_memory_is_told_by_device_and_module():
    """Sums of what is kept, peaks as they are, modules that keep most, and moments with their module's node."""
    samples = (
        Sample(moment(3), LiveBytes(1, 2, 3, 4, 5, 6, 7)),
        Sample(moment(4, "", "x<y"), LiveBytes(temporaries=9)),
    )
    other = Memory("cuda:1", peak=2**60, timeline=samples[1:], allocator="cuda")
    saved = {"Net.a": 5, "Net.b.c": 70, "Gone": 1, "Gone.9": 0} | dict(zip("cdefghij", range(8), strict=True))
    memory = Memory(
        "cuda:0", 28, samples[0].at, samples[0].live, 20, {"forward": 28}, saved, {"Net": 28, "Net.b.c": 21, "Gone": 3},
        samples, others=(other,), remarks=("Not all is seen.",),
    )  # fmt: skip
    data = profile_data(ROWS, NUMBERS, memory=memory)
    first, second = data["memory"]
    strings, names = data["strings"], paths(data)
    assert (first["device"], first["peak"], first["live"], first["end_of_forward"]) == (
        "cuda:0",
        28,
        [1, 2, 3, 4, 5, 6, 7],
        20,
    )
    assert by_path(data, first["saved"]) == {"Net": 75, "Net.a": 5, "Net.b": 70, "Net.b.c": 70}
    assert by_path(data, first["peaks"]) == {"Net": 28, "Net.b.c": 21}
    assert first["saved_in_all"] == 76 + 28
    assert [(strings[path], node >= 0, size) for path, node, size, _ in first["keepers"][:4]] == [
        ("Net.b.c", True, 70),
        ("j", False, 7),
        ("i", False, 6),
        ("Net.a", True, 5),
    ]
    # Ten are shown; what keeps nothing is not listed.
    assert len(first["keepers"]) == 10
    assert first["other_keepers"] == [0, 0]
    assert [[strings[phase], size] for phase, size in first["phases"]] == [["forward", 28]]
    number, *words, node = first["at"]
    assert (number, [strings[word] for word in words]) == (3, ["aten.mm", "Net.a", "forward", "net.py:3"])
    assert names[node] == ("Net", "a")
    assert first["timeline"] == [[value, 9 if name == "temporaries" else 0] for value, name in enumerate_categories()]
    assert [strings[first["moments"][1][2]], first["moments"][1][-1]] == ["", -1]
    assert first["remarks"][-1] == "Not all is seen."
    assert (second["device"], second["peak"], second["at"]) == ("cuda:1", str(2**60), None)
    assert any("512 bytes" in sentence for sentence in second["remarks"])


def test_modules_that_keep_equally_much_are_one_line():
    """If their paths differ in numbers only, which become stars; others stay by themselves, largest sum first."""
    saved = {f"Net.{block}.{layer}.fc": 4 + (layer == 2) for block in range(3) for layer in range(3)}
    saved |= {"Net.odd.0.fc": 4, "Net.7.x": 2, "Net.8.x": 2, "Net.9.y": 2, "": 9, "None": 0}
    assert group_keepers(saved) == [
        Keeper("Net.*.*.fc", "Net.0.0.fc", 24, 6),
        Keeper("Net.*.2.fc", "Net.0.2.fc", 15, 3),
        Keeper("", "", 9, 1),
        Keeper("Net.odd.0.fc", "Net.odd.0.fc", 4, 1),
        Keeper("Net.*.x", "Net.7.x", 4, 2),
        Keeper("Net.9.y", "Net.9.y", 2, 1),
    ]
    memory = Memory(saved={f"Net.{'x' * length}.0": length for length in range(1, 14)} | {"Net.x.1": 1})
    (told,) = profile_data(ROWS, NUMBERS, memory=memory)["memory"]
    assert [modules for *_, modules in told["keepers"]] == [1] * 10
    assert told["other_keepers"] == [2 + 1 + 1, 1 + 1 + 2 + 3]


def enumerate_categories():
    return enumerate(CATEGORIES, 1)


def test_without_records_nothing_is_told():
    """Of modules, nor of memory, nor where no floating-point work was counted."""
    data = profile_data(ROWS, NUMBERS)
    assert (data["modules"], data["memory"]) == (None, [])
    data = profile_data((INDEX,), NUMBERS, MODULES)
    assert data["nodes"]["parent"] == []


@pytest.mark.parametrize("length", [0, 7, 10, 11, 25, 1234])
def test_a_thinned_timeline_keeps_the_highest_of_each_stretch(length):
    """In order, at most so many, each stretch of about the same length; the peak is among them."""
    whole = [Sample(moment(number), LiveBytes(parameters=number * 7919 % 1009)) for number in range(length)]
    thinned = thin(whole, 10)
    assert len(thinned) == min(length, 10)
    numbers = [each.at.number for each in thinned]
    assert numbers == sorted(numbers)
    if length:
        assert max(each.live.total for each in thinned) == max(each.live.total for each in whole)
    if length <= 10:
        assert list(thinned) == whole


@pytest.mark.parametrize("name", ["A\ud800B", "a\0b", "a\u202eb", "\u2028a", "</script>", "", "  ", ".."])
def test_any_name_is_written(name):
    """Of modules, operators, phases, files, devices, parameters and dtypes, in sentences too."""
    pytest.importorskip("plotly")
    at = Moment(name, name, name, name, 1)
    memory = Memory(
        name, 1, at, LiveBytes(1), 1, {name: 1}, {name: 1}, {name: 1}, (Sample(at, LiveBytes(1)),), name,
        (Memory(name),), (name,),
    )  # fmt: skip
    calls = (CallShapes((TensorShape((1,), name),), ()),)
    record = ModuleRecord(name, name, 1, shared=(SharedParameter(name, name, 1),), calls=calls)
    rows = (replace(LINEAR, module=name),)
    html = Profile(rows, modules=(record,), memory=memory).to_html(fits="1GB")
    assert html.encode("utf-8").count(b"</script>") == 3
    assert not re.search("[\ud800\0\u202e\u2028]", html[: html.index("/**\n* plotly.js")])


def test_a_long_timeline_stays_small():
    """A hundred thousand samples, as no block makes them, take no more than 100 kB."""
    samples = tuple(Sample(moment(number % 7), LiveBytes(*([10**10] * 7))) for number in range(100_000))
    pytest.importorskip("plotly")
    plain = Profile(ROWS)
    with_memory = replace(plain, memory=Memory(peak=7 * 10**10, timeline=samples))
    assert len(with_memory.to_html()) - len(plain.to_html()) < 150_000


# Machado, Oliveira and Fernandes (2009), severity 1: what linear red, green and blue become.
BLINDNESS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def lab(color, matrix):
    """Return CIELAB coordinates of a color as someone sees it."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    seen = [min(1, max(0, sum(factor * each for factor, each in zip(row, linear, strict=True)))) for row in matrix]
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(factor * each for factor, each in zip(row, seen, strict=True)) for row in to_xyz]
    x, y, z = (
        (each / white) ** (1 / 3) if each / white > 0.008856 else 7.787 * each / white + 16 / 116
        for each, white in zip(xyz, (0.9505, 1, 1.089), strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("kind", BLINDNESS)
def test_categories_are_told_apart_with_any_color_vision(kind):
    """The colors of the chart, each from each other: CIE76 differences well above what can be told, about 2."""
    source = (files("opflops.report.page") / "memory.js").read_text(encoding="utf-8")
    colors = dict(re.findall(r'\["(\w+)", "(#\w{6})"\]', source))
    assert tuple(colors) == CATEGORIES
    seen = {name: lab(color, BLINDNESS[kind]) for name, color in colors.items()}
    distances = {
        pair: sum((a - b) ** 2 for a, b in zip(*map(seen.get, pair), strict=True)) ** 0.5
        for pair in combinations(seen, 2)
    }
    assert min(distances.values()) > 12, distances
    adjacent = [distances[pair] for pair in pairwise(CATEGORIES)]
    assert min(adjacent) > 30, adjacent
