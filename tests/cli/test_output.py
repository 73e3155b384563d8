"""Where a report goes and in which format: on the terminal, in files, and saved profiles as targets."""

import csv
import io
import json
import os
import re
import shlex
import stat
import subprocess
import sys

import pytest
from tabulate import tabulate_formats

from opflops import Profile
from opflops.cli import arguments, main, output
from opflops.errors import TargetError

EXAMPLE_MACS = 1_316_712


def test_options_shape_the_report(run):
    """By operator, sorted, in a format that a program reads."""
    _, out, _ = run("--by", "op", "--sort", "name", "--format", "tsv")
    names = [line.split("\t")[0].strip() for line in out.splitlines()[1:-1]]
    assert names == sorted(names)
    assert "aten.convolution" in names
    _, shallow, _ = run("--depth", "0")
    assert "conv1" not in shallow
    _, pairs, _ = run("--by", "module_type, op", "--format", "github")
    assert "Conv2d / aten.convolution" in pairs
    _, few, _ = run("--by", "op", "--top", "1", "--columns", "macs,bytes", "--numbers", "scaled")
    assert "6 others" in few
    assert "1.317 M" in few
    assert "flops " not in few.splitlines()[2]


@pytest.mark.parametrize("form", [*tabulate_formats, *arguments.FILE_FORMATS])
def test_every_format_can_be_had(run, form):
    """Something comes out, and nothing on stderr."""
    if form == "page":
        pytest.importorskip("plotly")
    code, out, err = run("--format", form)
    assert (code, err) == (0, "")
    assert out.strip()


def test_formats_are_what_they_say(run):
    """Each is read back as a program would read it."""
    assert json.loads(run("--format", "json")[1])["schema"] == "opflops.profile"
    assert len(list(csv.reader(io.StringIO(run("--format", "csv")[1])))) > 10
    modules = list(csv.DictReader(io.StringIO(run("--format", "csv-modules")[1])))
    params = [(16, 27), (32, 144), (120, 1152), (84, 120), (10, 84)]
    assert sum(int(each["params"] or 0) for each in modules) == sum(
        outputs * (inputs + 1) for outputs, inputs in params
    )
    assert {each["module"]: each["output"] for each in modules}["SimpleCNN.conv2"] == "1x32x13x13 float32"
    stack, _, count = run("--format", "folded", "--measure", "macs")[1].splitlines()[0].rpartition(" ")
    assert stack.startswith("SimpleCNN;")
    assert count.isdecimal()
    assert "speedscope" in json.loads(run("--format", "speedscope")[1])["$schema"]
    assert "\nstateDiagram-v2\n" in run("--format", "mermaid")[1]
    assert "erDiagram" in run("--format", "mermaid-er")[1]
    shallow = run("--format", "mermaid", "--depth", "0")[1]
    assert "stateDiagram-v2" in shallow
    assert shallow.count("-->") == 2
    assert run("--format", "html")[1].startswith("<table>")


def test_the_page_says_what_was_counted(run):
    """Title and facts are in it, and it is a whole document."""
    pytest.importorskip("plotly")
    _, out, _ = run("--format", "page", "--roofline", "t4")
    assert out.lstrip().lower().startswith("<!doctype html>")
    assert "opflops.example:SimpleCNN" in out


@pytest.mark.usefixtures("float32_alone")
def test_a_roofline_stands_below_the_table(run):
    """Of the device from its datasheet, in the parts of the table."""
    code, out, _ = run("--roofline", "H100-SXM", "--by", "module_type")
    assert code == 0
    assert "bound by" in out
    assert "h100-sxm (NVIDIA" in out
    assert "not computed in TF32" in " ".join(out.split())
    _, quicker, _ = run("--roofline", "h100-sxm:tf32")
    assert "float32 is computed in TF32" in " ".join(quicker.split())
    _, measured, _ = run("mymodels:Net", "--input", "2,4", "--timing", "--roofline", "cpu", "--by", "op")
    assert "measured with PyTorch" in measured
    assert re.search(r"\nMFU [\d.e-]+ % = .* at peak / ", measured)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("r.html", "page"), ("r.json", "json"), ("r.csv", "csv"), ("r.md", "github"), ("r.tsv", "tsv")),
        *(("r.tex", "latex"), ("r.mmd", "mermaid"), ("r.folded", "folded"), ("r.SPEEDSCOPE.json", "speedscope")),
    ],
)
def test_the_suffix_tells_the_format(name, form):
    """Unless one is asked for."""
    assert output.choose_format(None, name) == form
    assert output.choose_format("json", name) == "json"


def test_a_file_is_written_whole_and_said_to_be(run, project):
    """One line on stderr and nothing on stdout; the file has the permissions of a new one, or those that it had."""
    code, out, err = run("-o", "r.json")
    assert (code, out) == (0, "")
    assert err.startswith("opflops: wrote r.json (json): opflops.example:SimpleCNN · eval")
    assert err.count("\n") == 1
    assert Profile.from_json((project / "r.json").read_text(encoding="utf-8")).total.macs == EXAMPLE_MACS
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((project / "r.json").stat().st_mode) == 0o666 & ~mask
    (project / "r.json").chmod(0o640)
    assert run("-o", "r.json", "--quiet") == (0, "", "")
    assert stat.S_IMODE((project / "r.json").stat().st_mode) == 0o640
    assert [each.name for each in project.iterdir() if each.name.startswith(".")] == []


def test_a_report_that_fails_leaves_the_file_as_it_was(run, project):
    """Nor is anything else left in the folder."""
    (project / "r.json").write_text("before", encoding="utf-8")
    before = sorted(each.name for each in project.iterdir() if each.suffix != "")
    assert run("mymodels:Broken", "-o", "r.json")[0] == 2
    assert (project / "r.json").read_text(encoding="utf-8") == "before"
    assert sorted(each.name for each in project.iterdir() if each.suffix != "") == before


def test_a_folder_is_no_file(project):
    """In one sentence."""
    (project / "folder.json").mkdir()
    with pytest.raises(TargetError, match=r"folder\.json cannot be written: Is a directory"):
        output.write("text", "folder.json")


def test_a_dash_is_stdout(run):
    """As for other programs."""
    assert run("-o", "-") == run()


def test_a_saved_profile_is_a_target(run, project):
    """Shown again, with other options than it was counted with."""
    run("mymodels:Net", "--input", "2,4", "--dim", "batch=0:0", "-o", "saved.json")
    code, out, err = run("saved.json", "--by", "op")
    assert (code, err) == (0, "")
    assert out.startswith("saved.json\n")
    assert "12*batch" in out
    code, out, _ = run("saved.json", "--by", "op", "--at", "batch=5")
    assert " 60 " in out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "There is no file 'saved.json'"),
        ("{}", "saved.json: This is not a profile"),
        ("{", "it is not JSON"),
        ('{"model_type": "gpt2"}', "For a model's configuration, write hf:saved.json"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_what_is_no_profile_is_one_sentence(mistaken, project, text, words):
    """With a hint where the file is something else that can be counted."""
    if text is not None:
        (project / "saved.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert words in mistaken("saved.json")


@pytest.mark.parametrize(
    "option",
    [
        *(["--arg", "width=3"], ["--input", "1,3"], ["--batch", "2"], ["--dim", "batch=0:0"], ["--device", "cpu"]),
        *(["--dtype", "bf16"], ["--train"], ["--eval"], ["--backward"], ["--optimizer", "sgd"], ["--timing"]),
        *(["--causal", "dense"], ["--causal", "exact"]),
    ],
    ids=" ".join,
)
def test_a_profile_is_counted_already(run, mistaken, option):
    """Options of counting would be ignored, which is never what was meant; with a model beside it they are for that."""
    run("mymodels:Net", "--input", "2,4", "-o", "saved.json", "--quiet")
    assert mistaken("saved.json", *option) == (f"saved.json is a saved profile, so {option[0]} would have no effect.")
    assert "saved.json and saved.json are saved profiles" in mistaken("diff", "saved.json", "saved.json", *option)
    assert run("saved.json", "mymodels:Net", "--input", "2,4", "--backward")[0] == 0


def test_several_targets_are_compared(run):
    """Side by side, with what each is of above them, parameters, and ratios to the first."""
    code, out, err = run("mymodels:Net", "mymodels:factory", "mymodels:Net", "--input", "2,4", "--measure", "macs")
    assert (code, err) == (0, "")
    head = out.splitlines()[:3]
    assert [line.split(" · ")[0] for line in head] == ["mymodels:Net", "mymodels:factory", "mymodels:Net"]
    assert "parameters" in out
    assert "module: macs" in out
    assert "#2" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--columns", "byts"], "no column 'byts'"),
        (["--format", "json", "--depth", "1"], "--depth works only for tables"),
        (["-o", "r.jsn"], "selects no format"),
        (["--roofline", "h10"], "no figures for a device 'h10'"),
        (["--format", "folded", "--measure", "calls"], "There is no measure 'calls'"),
        (["--format", "speedscope", "--measure", "seconds"], "--measure seconds needs times. Give --timing"),
        (["--at", "batch=3"], "There is no dimension"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_report_has_not_is_said_before_counting(mistaken, argv, words):
    """Before the target is even looked at."""
    assert words in mistaken("nowhere:Net", *argv)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--format", "json"], "--format json works only for one target"),
        (["--roofline", "t4"], "--roofline works only for one target"),
        (["--expand"], "--expand and --columns work only for one target"),
        (["--sort", "intensity"], "cannot be sorted by 'intensity'"),
        (["--measure", "seconds"], "--timing to measure them"),
    ],
)
def test_what_a_comparison_has_not_is_said_before_counting(mistaken, argv, words):
    """Before the targets are even looked at."""
    assert words in mistaken("nowhere:Net", "nowhere:Net", *argv)


def test_paths_to_expand_stand_behind_a_sign(run, project):
    """So that the option alone leaves the target behind it to be one; a path shows what is right below it."""
    (project / "stacked.py").write_text(
        "from torch import nn\n"
        "class Stack(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(*(nn.Sequential(*(nn.Linear(4, 4) for _ in range(3))) for _ in range(2)))\n",
        encoding="utf-8",
    )
    options = ("--input", "1,4", "--by", "module")
    folded, whole, some, last = (
        run(*expand, "stacked.py:Stack", *options)[1]
        for expand in ((), ("--expand",), ("--expand=Stack",), ("--expand=Stack.1,Stack",))
    )
    assert run("stacked.py:Stack", *options, "--expand")[1] == whole
    lines = [text.count("\n") for text in (folded, some, last, whole)]
    assert lines == sorted(set(lines))


def test_a_stream_of_text_does_not_double_the_ends_of_lines(project, monkeypatch):
    """As that of Windows would, which writes CR LF for each LF; CSV has CR LF itself."""
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="utf-8", newline="\r\n"))
    assert main(["--format", "csv"]) == 0
    assert b"\r\r\n" not in buffer.getvalue()
    assert buffer.getvalue().endswith(b"\r\n")
    assert main(["--by", "op"]) == 0
    sys.stdout.flush()
    assert b"aten.convolution" in buffer.getvalue()


def test_colors_are_for_terminals(run, project, monkeypatch):
    """None in a pipe; forced ones in both the overview and a table; none in a file."""
    assert "\x1b[" not in run()[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run()[1]
    assert "\x1b[" in run("--by", "op")[1]
    assert "\x1b[" not in run("--by", "op", "--format", "github")[1]
    run("-o", "report.txt")
    assert "\x1b[" not in (project / "report.txt").read_text(encoding="utf-8")


def test_a_terminal_without_the_letters_still_gets_a_report(project, monkeypatch):
    """What cannot be written there is replaced, and no error."""
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    assert main([]) == 0
    assert b"x=1x3x32x32" in buffer.getvalue()


@pytest.mark.parametrize(
    ("redirected", "code", "message"),
    [("> /dev/full", 2, "opflops: The report cannot be written to stdout: No space left on device."), ("2>&-", 0, "")],
)
def test_streams_that_take_nothing_are_no_faults(project, redirected, code, message):
    """A full disk is a sentence; where nobody listens on stderr, the report comes all the same."""
    command = f"{shlex.quote(sys.executable)} -m opflops --by op {redirected}"
    ran = subprocess.run(["/bin/sh", "-c", command], cwd=project, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.strip()) == (code, message)
    assert ("aten.convolution" in ran.stdout) == (code == 0)


def test_a_roofline_shows_as_many_rows_as_the_table(run):
    """``--top`` holds for both."""
    _, out, _ = run("--roofline", "h100-sxm", "--by", "op", "--top", "1")
    table, bounds = out.split("at least", 1)
    assert "others" in table
    assert "others" in bounds
    assert bounds.count("aten.") == 1


def test_notes_of_a_report_name_options(run):
    """Sizes are chosen with ``--at`` here, not in Python."""
    _, out, _ = run("mymodels:Branches", "--input", "4,3", "--dim", "n=0:0")
    assert "see --at n=1" in " ".join(out.split())
    assert "profile." not in out
