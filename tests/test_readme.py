"""The README's Python blocks run as they stand, in order, in one session."""

import contextlib
import doctest
import io
import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def python_blocks():
    text = README.read_text(encoding="utf-8")
    for found in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield text[: found.start()].count("\n") + 2, found[1]


def test_every_block_runs_and_shows_what_it_says():
    """Blocks with prompts are doctests, the others run; what one defines the later ones use."""
    session = {}
    runner = doctest.DocTestRunner()
    for line, block in python_blocks():
        if block.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(block, session, f"README.md:{line}", str(README), line - 1)
            runner.run(test, clear_globs=False)
            session = test.globs
        else:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block, f"README.md:{line}", "exec"), session)  # noqa: S102 - the README is ours
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 10


def test_it_opens_with_the_two_lines_that_install_and_test():
    """A reader, and CI, copy them as they stand."""
    opening = README.read_text(encoding="utf-8").split("```")[1]
    assert opening.splitlines()[1:] == [
        "pip install -c tests/constraints.txt -e . && python -m opflops",
        "pip install -c tests/constraints.txt -e '.[test]' && pytest",
    ]
