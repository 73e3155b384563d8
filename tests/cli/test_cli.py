"""The command line as a program: the built-in example, help, exit codes, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from opflops.cli import arguments
from opflops.cli.count import _NEXT
from opflops.cli.option_wording import name_options
from opflops.report.text import columns

GOLDEN = Path(__file__).parent.parent / "report" / "golden" / "simple_cnn.txt"
SUBCOMMANDS = ["diff", "coverage", "models", "devices", "completion"]


def process(*argv, **options):
    """Run the command line as a process of its own."""
    command = [sys.executable, "-m", "opflops", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_without_arguments_it_prints_the_example(run):
    """What was counted and how, and the very report of SimpleCNN, without storage as on real tensors."""
    code, out, err = run()
    assert (code, err) == (0, f"{_NEXT}\n")
    header, _, report = out.partition("\n\n")
    sizes = "1x3x32x32".replace("x", "\N{MULTIPLICATION SIGN}")
    assert header == f"opflops.example:SimpleCNN · eval · meta · inputs x={sizes} float32"
    assert report == GOLDEN.read_text(encoding="utf-8")


def test_python_dash_m_is_the_same_program(project):
    """As a process: the exit code is the program's, and a mistake is no traceback."""
    wrong = process("mymodels:Nett")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "opflops: The module 'mymodels' has no 'Nett'; did you mean Net?\n"


@pytest.mark.parametrize("command", [[], *([name] for name in SUBCOMMANDS)], ids=" ".join)
def test_help_fits_a_screen(run, command):
    """At most forty lines of eighty columns, with every option of the parser."""
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    parsers = {"": arguments.count_parser(), "diff": arguments.diff_parser()}
    parser = parsers.get(" ".join(command))
    for action in parser._actions if parser else []:
        assert all(name in out for name in action.option_strings)


def test_help_does_not_wait_for_torch():
    """Nothing heavy is loaded before the arguments are read."""
    code = "import sys; from opflops.cli import main; main(['--help']); print('torch' in sys.modules, file=sys.stderr)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr == "False\n"


def test_the_version_names_torchs_too(run):
    """Both are needed to tell what a number is of."""
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("opflops ")
    assert f"torch {torch.__version__.partition('+')[0]}" in out


def test_what_can_be_sorted_by_is_what_there_is():
    """The names in the help are those that a table knows."""
    assert set(arguments.SORTS) == set(columns.SORTS)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--unknown"], "write --arg unknown=VALUE. opflops --help lists all options"),
        (["--backwrd"], "There is no option '--backwrd'; did you mean --backward"),
        (["--format", "jsn"], "There is no format 'jsn'; did you mean json?"),
        (["--device", "gpu"], "There is no device 'gpu'; there are meta, cpu, cuda"),
        (["--dtype", "float23"], "there are float32, float64, float16, bfloat16"),
        (["--by", "modul"], "did you mean module or module_type?"),
        (["--sort", "flop"], "There is no column to sort by 'flop'; did you mean flops"),
        (["--columns", "byts"], "did you mean 'bytes'"),
        (["--depth", "x"], "The number of levels must be 0 or more, not 'x'"),
        (["--depth=-1"], "The number of levels must be 0 or more, not '-1'"),
        (["--top", "0"], "The number of rows must be 1 or more, not '0'"),
        (["--batch", "0"], "The number of examples must be 1 or more, not '0'"),
        (["--expand=conv9"], "There is no module 'conv9' to expand"),
        (["--optimizer", "adamX"], "There is no optimizer 'adamX'; did you mean Adamax"),
        (["--roofline", "h10"], "There are no figures for a device 'h10'"),
        (["--roofline", "a100-sxm-80gb:tf16"], "only :tf32 can follow a device"),
        (["--train", "--eval"], "--train and --eval cannot be combined"),
        (["--time-limit", "0"], "--time-limit: '0' is not a number of seconds above 0"),
        (["--time-limit", "0.000001"], "within the 1e-06 seconds of --time-limit. It was at "),
        (["--timing", "--device", "meta"], "--timing needs a real device"),
        (["--arg", "depth"], "'depth' does not have the form NAME=VALUE"),
        (["--dim", "batch"], "--dim 'batch' does not have the form NAME=INPUT:AXIS"),
        (["--dim", "batch=y:0"], "There is no input 'y'; there is x"),
        (["--dim", "a=0:0", "--dim", "b=x:0"], "axis 0 of x is already named a"),
        (["--dim", "a=0:0", "--at", "a=2", "--at", "a=3"], "a is already 2"),
        (["--at", "batch"], "--at 'batch' does not have the form NAME=SIZE"),
        (["--at", "batch=3"], "There is no dimension. Define one as in --dim batch=0:0"),
        (["--at", "bach=3", "--dim", "batch=0:0"], "There is no dimension 'bach'; there is batch"),
        (["--format", "folded", "--dim", "b=0:0"], "Choose sizes with --at"),
        (["--format", "json", "--dim", "b=0:0", "--fail-above", "1%"], "--fail-above is an option of opflops diff"),
        (["--dim", "b=0:0", "--device", "cpu"], "--dim makes formulas without running"),
        (["--measure", "macs"], "--measure works with several targets"),
        (["--format", "json", "--depth", "1"], "--depth works only for tables"),
        (["--format", "json", "--roofline", "t4"], "--roofline works only with --format page and text tables"),
        (["--format", "html", "--roofline", "t4"], "--roofline works only with --format page and text tables"),
        (["-o", ".", "--format", "json"], ". cannot be written: it is a folder"),
        (["-o", "report.jsn"], "did you mean .json?"),
        (["-o", "report"], "selects no format. Use one of"),
        (["-o", "nowhere/report.json"], "nowhere/report.json cannot be written: there is no folder "),
        (["diff", "a.json"], "the following arguments are required"),
        (["dif", "a.json", "b.json"], "Did you mean opflops diff?"),
        (["devices", "--format", "gihub"], "did you mean github"),
        (["models", "timn"], "There is no source 'timn'; there are torchvision, timm, hf"),
        (["completion", "fish"], "There is no shell 'fish'; there are bash, zsh, tcsh"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_the_options_is_one_sentence(mistaken, argv, words):
    """With the nearest names or all, exit code 2 and nothing on stdout."""
    assert words.lower() in mistaken(*argv).lower()


def test_what_somebody_wrote_is_shown_as_it_was_written(mistaken):
    """Also at the beginning of a sentence."""
    assert mistaken("--top", "abc") == "--top: The number of rows must be 1 or more, not 'abc'."


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (
            "This profile has no times. Count with OpFlopMode(timing=True).",
            "no times. Count with --timing.",
        ),
        ("It is 3*b. Choose sizes first: profile.at(b=8).", "It is 3*b. Choose sizes with --at."),
        ("Nothing was timed. Count with OpFlopMode(timing=True).", "timed. Count with --timing."),
        ("Net needs a value; run it on real inputs inside OpFlopMode().", "a value; --device cpu runs it for real."),
        ("LBFGS needs more, so that count() cannot run it.", "so that opflops cannot run it."),
        ("Leave batch out of dynamic_shapes.", "Leave batch out of --dim."),
        ("Net fails: re-export and specify dynamic_shapes.", "re-export and specify dynamic_shapes."),
    ],
)
def test_errors_of_the_library_name_options(library, words):
    """In place of its own arguments; what other code says stays."""
    assert name_options(library).endswith(words)


def test_what_a_terminal_acts_upon_is_escaped(run, mistaken, project):
    """In names of a program that somebody else wrote, and in errors; words keep their letters."""
    (project / "names.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, **inputs):\n"
        "        raise ValueError('caf\\u00e9 \\x1b[2J \\u202e')\n",
        encoding="utf-8",
    )
    assert mistaken("names.py:Net").endswith("ValueError: caf\u00e9 \\x1b[2J \\u202e.")
    run("-o", "saved\x1b[2J.json")
    code, out, err = run("saved\x1b[2J.json")
    assert (code, err) == (0, "")
    assert out.startswith("saved\\x1b[2J.json\n")


def test_debug_shows_where_an_error_came_from(run):
    """The traceback comes before the sentence."""
    code, _, err = run("mymodels:Broken", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert 'raise OSError("no weights' in err
    assert "), mymodels:Broken fails to make its model" in err.splitlines()[-1]


def test_a_fault_of_opflops_has_an_exit_code_of_its_own(run, monkeypatch):
    """It must not look like an exceeded budget, which is 1 as Python's own ending is."""

    def fails(*_, **__):
        raise RuntimeError("gears")

    monkeypatch.setattr("opflops.cli.count.count_all", fails)
    code, out, err = run()
    assert (code, out) == (3, "")
    assert err == "opflops: This is a fault in opflops: RuntimeError: gears. --debug shows the traceback.\n"


def test_an_interrupt_ends_without_a_traceback(run):
    """As shells expect it: 130."""
    code, out, err = run("mymodels:Interrupted")
    assert (code, out, err) == (130, "", "opflops: interrupted.\n")


def test_an_interrupt_while_torch_is_loaded_ends_without_a_traceback(tmp_path):
    """A torch that takes for ever to import stands for the real one."""
    (tmp_path / "torch.py").write_text("open('began', 'w').close()\nimport time\ntime.sleep(60)\n", encoding="utf-8")
    # What runs in the background of a script ignores interrupts, and so does what it starts.
    listening = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", f"{listening}runpy.run_module('opflops', run_name='__main__', alter_sys=True)"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        deadline = time.monotonic() + 30
        while not (tmp_path / "began").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        # Python drops an interrupt that comes in a callback of its import system; by now it sleeps.
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (130, "", "opflops: interrupted.\n")


def test_a_reader_that_goes_away_has_seen_enough(project):
    """No word about a broken pipe, which `opflops | head -1` makes."""
    with subprocess.Popen(
        [sys.executable, "-m", "opflops", "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        running.stdout.close()
        err = running.stderr.read()
    assert (running.returncode, err) == (0, b"")


def test_strict_exits_with_1_where_an_operator_has_no_price(run, monkeypatch):
    """The report is shown all the same, and the operator named on stderr."""
    with torch.library._scoped_library("cli_test", "FRAGMENT") as library:
        library.define("mystery(Tensor x) -> Tensor")
        library.impl("mystery", lambda x: x.clone(), "CompositeExplicitAutograd")
        monkeypatch.setattr("opflops.example.SimpleCNN.forward", lambda _, x: torch.ops.cli_test.mystery(x))
        code, out, err = run("--strict", "--by", "op")
        assert code == 1
        assert "cli_test.mystery (unpriced)" in out
        assert err == "opflops: 1 operator has no formula: cli_test.mystery.\n"
        assert run("--by", "op")[0] == 0


def test_strict_is_fine_where_every_operator_has_a_price(run):
    """As in the example."""
    assert run("--strict")[0] == 0
