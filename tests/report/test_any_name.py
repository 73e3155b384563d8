"""Any string as a name: every writer works, and what it writes can be read and acts upon neither terminal nor sheet."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tabulate import tabulate_formats
from torch import nn

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row
from opflops.cli import main
from opflops.errors import OpflopsError, UnpricedOpWarning
from opflops.profile.annotation import annotate
from opflops.records.memory import LiveBytes, Memory, Moment, Sample
from opflops.records.modules import CallShapes, ModuleRecord, SharedParameter, TensorShape
from opflops.wording import printable

NAMES = {
    "surrogate": "A\ud800B",
    "low surrogate": "\udfff",
    "surrogates": "\udc00\ud800x\udcff",
    "nul": "a\0b",
    "escape": "\x1b[31mX\x9b2J\x7f",
    "bidi": "a\u202eb\u2066c\u200f",
    "lines": "a\nb\r\nc",
    "return": "a\rb",
    "separators": "\u2028a\u2029\ufeff\x85",
    "quotes": "\"'`;,%|<script>&</script>{}[]()#\\",
    "dots": "..",
    "empty": "",
    "spaces": "   ",
    "long": "x" * 5000,
    "deep": ".".join(["y"] * 200),
    "formula": "=1+1",
    "plus": "+1",
    "minus": "-a",
    "at": "@sum(1)",
    "tab": "\t=1",
    "space": "  =cmd|' /C calc'!A0",
    "return and formula": "\r\n=1",
    "full width": "\uff1d1",
}
TEXTS = ("module", "module_type", "op", "phase", "dtype", "estimate")
PLAIN = Row("Net.a", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=4, bytes_read=2), 1.0, "guessed")
CONTROLS = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
FORMULA = re.compile("[\\s]*[=+@\uff1d-]")


def profiles_named(name):
    """Put a name in each place where a profile has one, and in all at once."""
    other = replace(PLAIN, module="Net.b", phase="backward")
    for text in TEXTS:
        yield Profile((replace(PLAIN, **{text: name}), other))
    everywhere = replace(PLAIN, **dict.fromkeys(set(TEXTS) - {"dtype"}, name), priced=False)
    yield Profile((everywhere, other), (replace(everywhere, site=name),), (name,), remarks=(name,))
    tensor = TensorShape((2,), name)
    record = ModuleRecord(name, name, 3, shared=(SharedParameter(name, name, 1),), calls=(CallShapes((tensor,), ()),))
    moment = Moment(name, name, name, name)
    peaks = {"phase_peaks": {name: 1}, "saved": {name: 1}, "module_peaks": {name: 1}}
    memory = Memory(name, 1, moment, LiveBytes(1), **peaks, timeline=(Sample(moment, LiveBytes(1)),), remarks=(name,))
    yield Profile((everywhere,), modules=(record, ModuleRecord("Net.idle", "Net", 1)), memory=memory)


WRITERS = {
    "overview": str,
    "mermaid": lambda profile: profile.to_mermaid(),
    "mermaid-er": lambda profile: profile.to_mermaid("er"),
    "folded": lambda profile: profile.to_folded(),
    "speedscope": lambda profile: profile.to_speedscope(),
    "by all": lambda profile: profile.table(("module", "module_type", "op", "phase", "dtype")),
    **{form: lambda profile, form=form: profile.table(tablefmt=form) for form in tabulate_formats if form != "tsv"},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_writer_writes_any_name(name):
    """In characters that every file and terminal takes, without any that a terminal acts upon."""
    for profile in profiles_named(NAMES[name]):
        for form, write in WRITERS.items():
            text = write(profile)
            assert text.encode(), form
            assert not CONTROLS.search(text), form
        assert json.loads(profile.to_speedscope())["profiles"]


@pytest.mark.parametrize("name", NAMES)
def test_json_keeps_any_name(name):
    """Without loss, in ASCII."""
    for profile in profiles_named(NAMES[name]):
        assert profile.to_json().isascii()
        assert Profile.from_json(profile.to_json()) == profile


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_is_a_formula(name):
    """Each row has all cells; texts have no sign of a formula at their beginning, and numbers are as they were."""
    for profile in profiles_named(NAMES[name]):
        for text in (profile.to_csv(), profile.to_csv("modules")):
            header, *rows = csv.reader(io.StringIO(text, newline=""))
            assert not CONTROLS.search(text.replace("\r\n", "\n"))
            assert {len(row) for row in rows} == {len(header)}
            assert not any(FORMULA.match(cell) for row in rows for cell in row)
        if "\n" not in NAMES[name]:
            sheet = profile.table(("module", "module_type", "op"), tablefmt="tsv")
            assert not any(FORMULA.match(cell) for line in sheet.split("\n") for cell in line.split("\t"))


def test_numbers_are_no_formulas():
    """A difference has negative numbers, which stay; an expression with a sign is in parentheses."""
    batch = torch.export.Dim("batch")
    from opflops import count  # noqa: PLC0415 - only here

    before = count(nn.Linear(4, 3), torch.ones(2, 4), dynamic_shapes=({0: batch},))
    (row, *_) = csv.DictReader(io.StringIO(before.diff(Profile()).to_csv(), newline=""))
    assert (row["calls"], row["transcendentals"]) == ("-1", "0")
    assert not any(FORMULA.match(row[column]) for column in ("macs", "ops", "flops", "bytes_read", "bytes_written"))
    (row,) = csv.DictReader(io.StringIO(Profile().diff(Profile((PLAIN,))).to_csv(), newline=""))
    negative = Profile((replace(PLAIN, calls=-1, cost=Cost(macs=-4), seconds=-1.5),)).to_csv()
    (row,) = csv.DictReader(io.StringIO(negative, newline=""))
    assert (row["calls"], row["macs"], row["flops"], row["seconds"]) == ("-1", "-4", "-8", "-1.5")


@pytest.mark.parametrize("name", ["surrogate", "nul", "escape", "quotes", "lines"])
def test_the_page_takes_any_name(name):
    """Its data can be read, and none of them ends the script."""
    pytest.importorskip("plotly")
    *_, profile = profiles_named(NAMES[name])
    page = profile.to_html(title=NAMES[name] or None, about={NAMES[name]: NAMES[name]})
    assert page.encode()
    (data,) = re.findall(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert all(text == printable(text) for text in json.loads(data)["strings"])


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_takes_any_name(name, tmp_path, monkeypatch, capsysbinary):
    """It exits with 0, and writes what can be read back, on a terminal of any encoding too."""
    monkeypatch.chdir(tmp_path)
    *_, profile = profiles_named(NAMES[name])
    (tmp_path / "p.json").write_text(profile.to_json(), encoding="utf-8")
    for form in (
        "simple",
        "json",
        "csv",
        "csv-modules",
        "tsv",
        "github",
        "folded",
        "speedscope",
        "mermaid",
        "mermaid-er",
    ):
        assert main(["p.json", "--format", form]) == 0
        written, errors = capsysbinary.readouterr()
        assert not CONTROLS.search((written + errors).decode().replace("\r\n", "\n").replace("\t", " "))
    assert main(["p.json", "-o", "out.csv"]) == 0
    assert (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert main(["p.json", "--format", "json", "-o", "again.json"]) == 0
    assert Profile.from_json((tmp_path / "again.json").read_text(encoding="utf-8")) == profile
    assert main(["diff", "p.json", "again.json"]) == 0


def test_a_module_of_any_name_is_counted():
    """From the program to the file."""
    model = nn.Sequential()
    model.add_module("A\ud800B", nn.Linear(2, 2))
    model.add_module("\x1b[2J", type("=1\u202e", (nn.Linear,), {})(2, 2))
    with OpFlopMode() as m:
        model(torch.ones(1, 2))
    assert Profile.from_json(m.profile.to_json()) == m.profile
    for text in (str(m), m.profile.to_csv().replace("\r\n", "\n"), annotate(model, m.profile)):
        assert text.encode()
        assert not CONTROLS.search(text)


def test_errors_and_warnings_show_no_control_characters():
    """Whatever name they quote; the lines of a message stay lines."""
    profile = Profile((replace(PLAIN, module="Net\x1b[2J"),), called=("Net\x1b[2J\u202e",))
    with pytest.raises(ProfileError) as refused:
        profile.uncalled(nn.Linear(1, 1))
    assert r"Net\x1b[2J\u202e" in str(refused.value)
    assert str(OpflopsError("a\nb\x9b")) == "a\nb\\x9b"
    assert str(UnpricedOpWarning("my.op\x1b")) == r"my.op\x1b"


def test_bars_in_names_separate_no_cells():
    """In the formats that separate cells by them."""
    for form in ("github", "pipe", "jira", "orgtbl"):
        first, *lines = Profile((replace(PLAIN, module="Net|a|b", module_type="x|y"),)).table(tablefmt=form).split("\n")
        cells = {len(re.findall(r"(?<!\\)[|+]+", line)) for line in (first, *lines) if set(line) & set("abcdefg")}
        assert len(cells) == 1


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["folder.json"], 2, "cannot be read"),
        (["binary.json"], 2, "cannot be read"),
        (["empty.json"], 2, "not JSON"),
        (["other.json"], 2, "not a profile"),
        (["p.json", "-o", "none/out.csv"], 2, "no folder"),
        (["p.json", "-o", "folder.json"], 2, "it is a folder"),
        (["diff", "p.json", "other.json"], 2, "not a profile"),
        (["diff", "p.json", "p.json", "--fail-above", "1%"], 0, ""),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)
def test_files_that_cannot_be_used_are_one_sentence(tmp_path, monkeypatch, capsys, argv, code, words):
    """With the exit code of wrong use."""
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    assert main(argv) == code
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == (code != 0)


def make_files(tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "binary.json").write_bytes(bytes(range(256)))
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / "other.json").write_text('{"nodes": []}', encoding="utf-8")
    *_, profile = profiles_named("A\ud800\x1b\u5377\u202e")
    (tmp_path / "p.json").write_text(profile.to_json(), encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["p.json", "--format", "csv"], 0), (["p.json"], 0), (["\udcff\x1b.json"], 2)],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)
def test_the_command_line_in_a_poor_environment(tmp_path, argv, code):
    """Without a trace, where only ASCII can be written."""
    make_files(tmp_path)
    code_text = "import sys; from opflops.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {
        "PYTHONPATH": ":".join(sys.path),
        "PYTHONIOENCODING": "ascii",
        "LANG": "C",
        "LC_ALL": "C",
        "PATH": "",
    }
    ran = subprocess.run(
        [sys.executable, "-c", code_text, *argv], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert (ran.returncode, b"Traceback" in ran.stderr) == (code, False)
    assert not CONTROLS.search((ran.stdout + ran.stderr).decode("ascii").replace("\r\n", "\n"))
