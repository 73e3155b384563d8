"""Where to optimize and what steps take, on the command line: below the table, in the page, and refused in time."""

import re

import pytest

from opflops.cli.arguments import protect_optional_values
from opflops.cli.planning import parse_plan

SIZED = ("mymodels:Sized", "--arg", "width=1000", "--input", "5,1000")


def words(text):
    return " ".join(text.split())


def test_bottlenecks_stand_below_the_table(run):
    """By bounds on a device: the layer has all of the time, and half of it is half of everything."""
    code, out, _ = run(*SIZED, "--bottlenecks", "H100-SXM", "--by", "op", "--top", "1")
    assert code == 0
    assert "Where to optimize, by lower bounds on h100-sxm:" in out
    line = next(line for line in out.splitlines() if line.startswith("Sized.fc"))
    assert line.split()[3:] == ["100.0", "100.0", "2", "50.0", "%", "2.00x", "memory"]
    assert "Launches cannot be told without times." in words(out)


@pytest.mark.usefixtures("float32_alone")
@pytest.mark.parametrize("option", [["--bottlenecks"], ["--bottlenecks="], ["--bottlenecks", "cpu"]])
def test_times_are_ranked_with_a_device_or_without(run, option):
    """The target behind the option is not taken for a device; without one, a note says what it would tell."""
    code, out, _ = run("--timing", "--input", "2,4", *option, "mymodels:Net")
    assert code == 0
    assert "Where to optimize, by measured time:" in out
    assert out.count("Where to optimize") == 1
    assert out.count("of warm-up") == 1
    assert ("Held back in all by" in out) == ("cpu" in option)
    assert ("Give a device, as in --bottlenecks h100-sxm, to see" in words(out)) == ("cpu" not in option)


def test_the_report_of_a_timed_run_has_a_short_list(run):
    """With the option that shows more; a run without times has none."""
    _, out, _ = run("mymodels:Net", "--input", "2,4", "--timing")
    assert "Where to optimize, by measured time:" in out
    assert "--bottlenecks DEVICE shows all, and what holds each back." in words(out)
    assert "Where to optimize" not in run("mymodels:Net", "--input", "2,4")[1]


def test_a_saved_profile_is_ranked(run, project):
    """Its times are in the file; without times a device is asked for."""
    run("mymodels:Net", "--input", "2,4", "--timing", "-o", "timed.json")
    run("mymodels:Net", "--input", "2,4", "-o", "plain.json")
    assert "by measured time" in run("timed.json", "--bottlenecks")[1]
    assert "by lower bounds on t4" in run("plain.json", "--bottlenecks", "t4")[1]
    assert (project / "plain.json").exists()


def test_resources_stand_below_the_table(run):
    """By hand: 2 x 5 x 1000 x 1000 FLOPs at 67 T and 50 % take 298.5 ns; 10**13 steps on 2 devices 414.6 hours."""
    plan = "h100-sxm,steps=1e13,mfu=50%,devices=2,price=1.5,tokens=5"
    code, out, _ = run(*SIZED, "--memory", "--resources", plan)
    assert code == 0
    text = words(out)
    assert "10,000,000,000,000 steps on 2 x h100-sxm step 149.3 ns" in text
    hours = 1e13 * 1e7 / 67e12 / 0.5 / 2 / 3600
    assert f"time {hours:.4g} hours ({hours / 24:.4g} days)" in text
    assert f"device-hours {2 * hours:.4g} money {3 * hours:,.2f}" in text
    assert "MFU 50 % is assumed." in text
    assert re.search(r"memory 4\.\d\d MB of 80 GB: fits", text)
    assert "(--allocator cuda does)" in text


def test_the_page_has_both(run, project):
    """Where to optimize as a card, the plan as a fact below the title."""
    pytest.importorskip("plotly")
    code, _, _ = run(*SIZED, "--bottlenecks", "h100-sxm", "--resources", "h100-sxm,steps=10,mfu=0.4", "-o", "page.html")
    assert code == 0
    text = (project / "page.html").read_text(encoding="utf-8")
    assert "10 steps on h100-sxm: " in text
    assert "Where to optimize, by lower bounds on h100-sxm" in text


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--bottlenecks"], "--bottlenecks needs times or a device. Give --timing"),
        (["--bottlenecks", "h10"], "no figures for a device 'h10'"),
        (["--bottlenecks", "t4:tf16"], "only :tf32 can follow a device"),
        (["--bottlenecks", "t4", "--format", "json"], "--bottlenecks works only with --format page and text tables"),
        (["--bottlenecks", "t4", "--format", "github"], "--bottlenecks works only with --format page"),
        (["--bottlenecks", "t4", "--roofline", "l4", "--format", "page"], "A page has one device"),
        (["--bottlenecks", "t4", "nowhere:Other"], "--bottlenecks works only for one target"),
        (["--resources", "t4,steps=1,mfu=0.4", "nowhere:Other"], "--resources works only for one target"),
        (["--resources", "t4,steps=1,mfu=0.4", "--format", "csv"], "--resources works only with --format page"),
        (["--resources", "t5,steps=1,mfu=0.4"], "no figures for a device 't5'"),
        (["--resources", "steps=1,mfu=0.4"], "has to begin with a device"),
        (["--resources"], "--resources needs a value: --resources PLAN (hours: h100-sxm,steps=1e6,mfu=0.4["),
        (["--roofline"], "--roofline needs a value: --roofline DEVICE (bound times, with --timing also MFU: h100"),
        (["--resources", "t4,mfu=0.4"], "--resources needs steps, as in --resources h100-sxm,steps=1000,mfu=0.4"),
        (["--resources", "t4"], "--resources needs steps and mfu"),
        (["--resources", "t4,steps=1,mfu"], "'mfu' does not have the form NAME=NUMBER"),
        (["--resources", "t4,step=1,mfu=1"], "There is no number 'step'; there are steps, mfu"),
        (["--resources", "t4,steps=x,mfu=1"], "steps=x is not a number"),
        (["--resources", "t4,steps=1,steps=2,mfu=1"], "has steps twice"),
        (["--resources", "t4,steps=1,mfu=40"], "mfu must be above 0 and at most 1, as in mfu=0.4, not 40"),
        (["--resources", "t4,steps=1.5,mfu=0.4"], "steps must be a whole number"),
        (["--resources", "t4,steps=1,mfu=0.4,devices=0"], "devices must be 1 or more"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_shown_is_said_before_counting(mistaken, argv, sentence):
    """Before the target is even looked at."""
    assert sentence in mistaken("nowhere:Net", *argv)


def test_formulas_have_no_hours(mistaken):
    """The sentence names the option."""
    told = mistaken(*SIZED, "--dim", "b=0:0", "--resources", "t4,steps=1,mfu=0.4")
    assert "The resource plan needs numbers" in told
    assert "Choose sizes with --at" in told


@pytest.mark.parametrize(
    ("argv", "left"),
    [
        (["--bottlenecks", "t4", "a:B"], ["--bottlenecks=t4", "a:B"]),
        (["--bottlenecks", "cuda:1", "a:B"], ["--bottlenecks=cuda:1", "a:B"]),
        (["--bottlenecks", "cuda:0:tf32"], ["--bottlenecks=cuda:0:tf32"]),
        (["--bottlenecks", "h100-sxm:tf32"], ["--bottlenecks=h100-sxm:tf32"]),
        (["--bottlenecks", "timm:tf_efficientnet_b0"], ["--bottlenecks=", "timm:tf_efficientnet_b0"]),
        (["--bottlenecks", "saved.json"], ["--bottlenecks=", "saved.json"]),
        (["--bottlenecks", "--timing"], ["--bottlenecks=", "--timing"]),
        (["--bottlenecks", "--", "t4"], ["--bottlenecks=", "--", "t4"]),
        (["a:B", "--bottlenecks"], ["a:B", "--bottlenecks="]),
        (["--", "--bottlenecks", "t4"], ["--", "--bottlenecks", "t4"]),
    ],
)
def test_a_device_is_told_from_a_target(argv, left):
    """A target has a colon, a suffix or a folder; a device has none."""
    assert protect_optional_values(argv) == left


def test_a_plan_is_read():
    """Spaces do no harm, and a percent sign says what is meant."""
    assert parse_plan("NVIDIA L4, steps = 2e3, mfu = 37.5 %") == ("NVIDIA L4", {"steps": 2000, "mfu": 0.375})
