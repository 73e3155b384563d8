"""What the contributing page shows is so: its example runs, its diagram is the order of the packages."""

import re
from pathlib import Path

import pytest
from test_layers import FILES, LEVEL, package_of, packages_imported

PAGE = (Path(__file__).parent.parent / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(language):
    """Return the page's block in a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return text


def arrows():
    """Yield the pairs of packages of which the diagram says that one imports the other."""
    for line in block("mermaid").splitlines()[1:]:
        left, right = re.sub(r'\[".*?"\]', "", line).split("-->")
        yield from ((a.strip(), b.strip()) for a in left.split("&") for b in right.split("&"))


def test_the_worked_example_is_a_formula_whose_test_passes():
    """As it stands, and its test fails if the formula is off by one operation an element."""
    session = {}
    exec(compile(block("python"), "CONTRIBUTING.md", "exec"), session)  # noqa: S102 - the page is ours
    session["test_squared_relu_takes_two_operations_an_element"]()
    changed = block("python").replace("2 * x.numel()", "3 * x.numel()").replace("demo", "demo_off")
    exec(compile(changed, "CONTRIBUTING.md", "exec"), session)  # noqa: S102 - the page is ours
    with pytest.raises(AssertionError):
        session["test_squared_relu_takes_two_operations_an_element"]()


@pytest.mark.parametrize(("package", "other"), list(arrows()))
def test_an_arrow_of_the_diagram_is_an_import_that_points_down(package, other):
    """Each arrow stands for an import in the code."""
    assert LEVEL[other] < LEVEL[package]
    files = [path for path in FILES if package_of(path) == package]
    assert other in {name for path in files for name in packages_imported(path, with_types=True)}


def test_the_page_names_every_package():
    """In the diagram, or among those of the ground floor."""
    drawn = {package for arrow in arrows() for package in arrow}
    assert set(LEVEL) - drawn - {"__init__", "__main__"} == {"wording", "extras", "example"}
    assert "`errors`, `wording`, `extras` and `example`" in PAGE


def test_the_files_that_the_page_names_exist():
    """A path in backticks is one of the repository."""
    root = Path(__file__).parent.parent
    for path in set(re.findall(r"`((?:opflops|tests|\.ci)/[\w/.*]+)`", PAGE)):
        assert list(root.glob(path)), path
