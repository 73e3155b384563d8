"""Every block of the README runs as it stands, in order: Python in one session, commands in one folder."""

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pictures
import pytest
from required import models

import opflops

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
REPOSITORY = "https://github.com/opflops/opflops"
FILES, RAW = f"{REPOSITORY}/blob/main/", "https://raw.githubusercontent.com/opflops/opflops/main/"
# The address of a file: where it stands, its path, and a heading.
FILE = re.compile(rf"({re.escape(FILES)}|{re.escape(RAW)})([^#]+)(?:#(.+))?$")
# A file that a block is, or a package whose models it needs.
BLOCK = re.compile(r"^(?:<!-- (file|needs): (\S+) -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What the Python block right above prints; lines may be left out.
OUTPUT = re.compile(r"\s*^```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CHECKER = doctest.OutputChecker()


def blocks(language, mark=None):
    """Yield the line and text of each block of a language; of those that are marked, only where asked for."""
    for found in BLOCK.finditer(TEXT):
        if found[3] == language and found[1] == mark:
            yield TEXT[: found.start(4)].count("\n") + 1, found[2], found[4]


def check_output(expected, printed):
    """See that a program printed what is expected, where "..." stands for any text."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert CHECKER.check_output(expected, printed, flags), CHECKER.output_difference(
        doctest.Example("", expected), printed, flags
    )


def test_every_block_runs_and_shows_what_it_says(monkeypatch, tmp_path):
    """Blocks with prompts are doctests, others run and print the text below; what one defines the later ones use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    session = {"__name__": "__main__"}
    shown = 0
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for line, _, block in blocks("python"):
        if block.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(block, session, f"README.md:{line}", str(README), line - 1)
            runner.run(test, clear_globs=False)
            session = test.globs
        else:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(block, f"README.md:{line}", "exec"), session)  # noqa: S102 - the README is ours
            if output := OUTPUT.match(TEXT, TEXT.index(f"{block}```") + len(f"{block}```")):
                check_output(output[1], printed.getvalue())
                shown += 1
    assert shown == TEXT.count("```text")
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 10


def run(block, folder):
    """Run the commands of a block in a folder, and see that each prints what stands below it, if anything does."""
    commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    assert commands
    # opflops is this one, on this interpreter.
    shown = folder / "bin" / "opflops"
    shown.parent.mkdir(exist_ok=True)
    shown.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m opflops "$@"\n')
    shown.chmod(0o755)
    environment = {
        **os.environ,
        "COLUMNS": "100",
        "PATH": f"{shown.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # The opflops under test, which may be an installed one.
        "PYTHONPATH": str(Path(opflops.__file__).parent.parent),
    }
    for each in commands:
        command, _, expected = each.partition("\n")
        ran = subprocess.run(
            ["/bin/bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
        if expected.strip():
            check_output(expected, ran.stdout)


@pytest.mark.parametrize("block", [pytest.param(block, id=f"line {line}") for line, _, block in blocks("console")])
def test_commands_print_what_they_say(tmp_path, block):
    """Those of a block run in one folder, in which files stay from one to the next."""
    run(block, tmp_path)


def test_several_blocks_are_of_commands():
    """What finds the blocks, finds those that are there."""
    assert len(list(blocks("console"))) + len(list(blocks("console", "needs"))) == TEXT.count("```console") > 1


@pytest.mark.external
def test_commands_about_models_of_other_libraries_print_what_they_say(tmp_path):
    """Those that need torchvision, timm or transformers."""
    ran = 0
    for _, package, block in blocks("console", "needs"):
        models(package)
        run(block, tmp_path)
        ran += 1
    assert ran


def test_files_are_tests_that_pass(tmp_path):
    """A file that the README shows is a test of a user's, with the fixture that comes with opflops."""
    ran = 0
    for _, name, block in blocks("python", "file"):
        (tmp_path / name).write_text(block)
        subprocess.run([sys.executable, "-m", "pytest", "-q", name], cwd=tmp_path, check=True, capture_output=True)
        ran += 1
    assert ran


def test_the_picture_is_what_a_terminal_shows():
    """Drawn anew, the report of the README's first picture is the same; python tests/pictures.py draws it."""
    assert pictures.TREE.read_text(encoding="utf-8") == pictures.tree()


def anchors(markdown):
    """List the anchors that GitHub and PyPI give to the headings of a page."""
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(
            r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
        )
    }


def faults_of_links(text, root):
    """List the links of a page that lead nowhere on an index of packages, which has the page alone.

    Files of the repository are linked by their whole addresses, pictures by those of their bytes.
    """
    faults = []
    for picture, target in re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            if target[1:] not in anchors(text):
                faults.append(f"{target}: no such heading")
            continue
        address = FILE.match(target)
        if address is None:
            if not target.startswith("https://") or target.startswith(REPOSITORY + "/"):
                faults.append(f"{target}: not an address of a file")
            continue
        path, anchor = root / address[2], address[3]
        if bool(picture) != (address[1] == RAW):
            faults.append(f"{target}: {'a picture is not raw' if picture else 'a page is raw'}")
        elif not path.exists():
            faults.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(path.read_text(encoding="utf-8")):
            faults.append(f"{target}: no such heading in {address[2]}")
    return faults


def test_its_links_lead_somewhere_on_an_index_of_packages():
    """Its own headings, files of the repository by their whole addresses, and other sites."""
    assert faults_of_links(TEXT, README.parent) == []
    assert re.search(rf"\]\({FILES}", TEXT)


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("[guide](.github/CONTRIBUTING.md)", "not an address of a file"),
        ("![a page](.github/page.png)", "not an address of a file"),
        ("[plain](http://example.com)", "not an address of a file"),
        (f"[tree]({REPOSITORY}/tree/main/opflops)", "not an address of a file"),
        (f"[gone]({FILES}docs/gone.md)", "no such file"),
        (f"[figures]({FILES}benchmarks/README.md#no-such-part)", "no such heading in benchmarks/README.md"),
        ("[below](#no-such-part)", "no such heading"),
        (f"![a page]({FILES}.github/page.png)", "a picture is not raw"),
        (f"[a page]({RAW}.github/page.png)", "a page is raw"),
    ],
)
def test_links_that_lead_nowhere_are_found(link, fault):
    """Relative ones, and those to files, headings and pictures that are not there."""
    (found,) = faults_of_links(f"# Title\n\n{link}\n", README.parent)
    assert found.endswith(fault)


def test_it_opens_with_the_two_lines_that_install_and_test():
    """A reader, and CI, copy them as they stand."""
    opening = TEXT.split("```")[1]
    assert opening.splitlines()[1:] == [
        "pip install -c tests/constraints.txt -e . && python -m opflops",
        "pip install -c tests/constraints.txt -e '.[test]' && pytest",
    ]
