"""The conditions of formulas on the command line: the shortest few of many, or all with --conditions."""

import pytest

from opflops import Profile

DIVISORS = (3, 5, 7, 11, 13, 17, 19)
MODEL = f"""
from torch import nn


class Picky(nn.Module):
    def forward(self, x):
        for divisor in {DIVISORS}:
            if x.shape[0] % divisor == 1:
                return x
        return x.exp()
"""
ARGUMENTS = ("picky.py:Picky", "--input", "30,4", "--dim", "n=0:0")


@pytest.fixture
def picky(project, run):
    """Run the command line in a folder with a model that compares seven remainders."""
    (project / "picky.py").write_text(MODEL, encoding="utf-8")
    return run


def listed(text):
    return [divisor for divisor in DIVISORS if f"The formulas hold for n % {divisor} != 1 (" in " ".join(text.split())]


def test_conditions_are_all_listed_if_asked_for(picky):
    """In the report, in one table, of a saved profile, and in comparisons; else a sentence counts the others."""
    code, out, err = picky(*ARGUMENTS)
    assert (code, err, listed(out)) == (0, "", [*DIVISORS[:4]])
    assert "3 more conditions: --conditions shows them." in " ".join(out.split())
    picky(*ARGUMENTS, "-o", "picky.json")
    for arguments in (
        (*ARGUMENTS, "--conditions"),
        (*ARGUMENTS, "--conditions", "--by", "op"),
        ("picky.json", "--conditions"),
        ("picky.json", "picky.json", "--conditions"),
        ("diff", "picky.json", "picky.json", "--conditions"),
    ):
        code, out, err = picky(*arguments)
        assert (code, err, listed(out)) == (0, "", [*DIVISORS])
        assert "more conditions" not in out
    _, out, _ = picky("diff", "picky.json", "picky.json")
    assert "3 more conditions: --conditions shows them." in " ".join(out.split())


def test_json_has_all_conditions(picky):
    """With or without the option's place in a table."""
    _, out, _ = picky(*ARGUMENTS, "--format", "json")
    assert len(Profile.from_json(out).conditions) == 7
    code, _, err = picky(*ARGUMENTS, "--format", "json", "--conditions")
    assert code == 2
    assert "--conditions works only for tables. --format json always contains everything." in " ".join(err.split())


def test_conditions_of_numbers_are_a_mistake(picky):
    """Nothing is a formula without --dim."""
    code, _, err = picky("picky.py:Picky", "--input", "30,4", "--conditions")
    assert code == 2
    assert "there is no formula. Define a dimension as in --dim batch=0:0." in " ".join(err.split())


def test_tables_of_the_library_list_them_too(picky):
    """The overview and a table, with conditions=True; one more than a few is shown, and not counted."""
    picky(*ARGUMENTS, "-o", "picky.json")
    profile = Profile.load("picky.json")
    assert "3 more conditions: see profile.conditions." in " ".join(str(profile).split())
    for text in (profile.overview(conditions=True), profile.table("op", conditions=True)):
        assert listed(text) == [*DIVISORS]
    few = Profile(profile.rows, dimensions=profile.dimensions, conditions=profile.conditions[:5])
    assert len(listed(str(few))) == 5
