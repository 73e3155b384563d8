"""``opflops diff``: what changed, and exit codes for budgets."""

import pytest
import torch

BASE = ("--arg", "width=10", "--arg", "bias=False", "--input", "1,10")


@pytest.fixture
def saved(run):
    """Profiles of 100, 100 and 121 macs."""
    for name, width in (("a", 10), ("same", 10), ("b", 11)):
        made = ("--arg", f"width={width}", "--arg", "bias=False", "--input", f"1,{width}")
        assert run("mymodels:Sized", *made, "-o", f"{name}.json")[0] == 0


@pytest.mark.usefixtures("saved")
def test_a_difference_is_shown(run):
    """From where to where, with both numbers and the change."""
    code, out, err = run("diff", "a.json", "b.json", "--by", "op", "--measure", "macs")
    assert (code, err) == (0, "")
    assert out.startswith("from a.json\nto   b.json\n")
    assert "100" in out
    assert "121" in out
    assert "21" in out


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["a.json", "b.json", "--fail-above", "1%"], 1),
        (["a.json", "b.json", "--fail-above", "20.9 %"], 1),
        (["a.json", "b.json", "--fail-above", "21%"], 0),
        (["a.json", "b.json", "--fail-above", "0.3"], 0),
        (["a.json", "same.json", "--fail-above", "0%"], 0),
        (["b.json", "a.json", "--fail-above", "0%"], 0),
        (["a.json", "b.json", "--fail-above", "15%", "--measure", "calls"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_growth_above_a_limit_is_exit_code_1(run, argv, code):
    """100 to 121 macs is 21 %; less is never too much."""
    ended, out, err = run("diff", *argv)
    assert ended == code
    assert out.startswith("from ")
    assert (err != "") == (code == 1)


@pytest.mark.usefixtures("saved")
def test_what_grew_is_said_on_stderr(run):
    """One line for each total, as a budget in a test says it, or for the measure asked for; a float has four bytes."""
    _, _, err = run("diff", "a.json", "b.json", "--fail-above", "1%")
    macs, flops, moved = err.splitlines()
    assert macs == "opflops: 121 macs are 21 (21.00 %) above the baseline's 100; up to 1 % is allowed."
    assert flops == "opflops: 242 flops are 42 (21.00 %) above the baseline's 200; up to 1 % is allowed."
    grown = f"{4 * (121 + 22)} bytes are {4 * (121 + 22 - 120)} (19.17 %) above the baseline's {4 * 120}"
    assert moved == f"opflops: {grown}; up to 1 % is allowed."
    _, _, err = run("diff", "a.json", "b.json", "--fail-above", "1%", "--measure", "bytes")
    assert err == f"{moved}\n"


def test_transcendental_functions_are_a_total_too(run, project):
    """Three more exponentials, and no more of anything else that --fail-above watches."""
    (project / "grows.py").write_text(
        "import torch\ndef root(x):\n    return x + x\ndef exponential(x):\n    return x.exp()\n",
        encoding="utf-8",
    )
    for name in ("root", "exponential"):
        assert run(f"grows.py:{name}", "--input", "3", "-o", f"{name}.json")[0] == 0
    code, _, err = run("diff", "root.json", "exponential.json", "--fail-above", "1%")
    assert (code, err) == (
        1,
        "opflops: 3 transcendentals are 3 above the baseline's 0; up to 1 % is allowed.\n",
    )


def test_an_operator_that_lost_its_price_is_too_much(run, project):
    """Its arithmetic is in no total, which would look like less; one that had none before is nothing new."""
    (project / "odd.py").write_text(
        "import torch\ndef plain(x):\n    return x + 1\ndef odd(x):\n    return torch.ops.diff_test.mystery(x)\n",
        encoding="utf-8",
    )
    with torch.library._scoped_library("diff_test", "FRAGMENT") as library:
        library.define("mystery(Tensor x) -> Tensor")
        library.impl("mystery", lambda x: x.clone(), "CompositeExplicitAutograd")
        for name in ("plain", "odd"):
            assert run(f"odd.py:{name}", "--input", "3", "-o", f"{name}.json")[0] == 0
    code, _, err = run("diff", "plain.json", "odd.json", "--fail-above", "50%")
    assert code == 1
    assert err == (
        "opflops: diff_test.mystery has no formula in odd.json, but has one in plain.json, so its work is missing from "
        "the totals.\n"
    )
    assert run("diff", "odd.json", "odd.json", "--fail-above", "0%")[0] == 0


@pytest.mark.usefixtures("saved")
def test_targets_can_be_compared_too(run):
    """A model as it is now with a profile of it as it was."""
    assert run("diff", "a.json", "mymodels:Sized", *BASE, "--fail-above", "0%")[0] == 0
    code, out, _ = run("diff", "mymodels:Sized", "mymodels:Net", "--arg", "width=4", "--input", "2,4")
    assert code == 2
    assert out == ""


@pytest.mark.usefixtures("saved")
def test_a_difference_is_a_table(run, mistaken, project):
    """Of any kind, also in a file; no other format has one."""
    code, _, err = run("diff", "a.json", "b.json", "--by", "op", "-o", "d.md")
    assert code == 0
    assert "wrote d.md (github)" in err
    assert (project / "d.md").read_text(encoding="utf-8").startswith("|")
    assert "Write a difference as a table" in mistaken("diff", "a.json", "b.json", "--format", "json")


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["a.json", "b.json", "--fail-above", "much"], "'much' is not a share"),
        (["a.json", "b.json", "--fail-above=-1%"], "not a share"),
        (["a.json", "c.json"], "There is no file 'c.json'"),
        (["a.json", "b.json", "--measure", "flop"], "did you mean flops"),
        (["a.json", "b.json", "c.json"], "Unexpected argument 'c.json'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(mistaken, argv, words):
    """Exit code 2, which is not the one of a budget."""
    assert words in mistaken("diff", *argv)


@pytest.mark.usefixtures("saved")
def test_times_that_were_not_taken_keep_no_limit(run):
    """They would look as if they had not grown."""
    code, _, err = run("diff", "a.json", "b.json", "--fail-above", "1%", "--measure", "seconds")
    assert (code, err) == (2, "opflops: This profile has no times. Count with --timing.\n")


def test_expressions_have_no_percentage_until_they_have_sizes(run, mistaken):
    """With sizes they are numbers."""
    target = ("mymodels:Net", "--input", "2,4", "--dim", "batch=0:0")
    run(*target, "-o", "a.json")
    assert "Choose sizes with --at" in mistaken_after(run, "diff", "a.json", "a.json", "--fail-above", "1%")
    assert run("diff", "a.json", "a.json", "--fail-above", "1%", "--at", "batch=3")[0] == 0


def mistaken_after(run, *argv):
    code, _, err = run(*argv)
    assert code == 2
    return err
