"""Shell completion: the script, sourced in a real bash, completes; without the extra there is the install line."""

import shutil
import subprocess
import sys

import pytest

from opflops.cli import arguments, main

COMPLETE = """
source ./completion.bash
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_shtab_opflops
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(run, project):
    """Complete the last of some words in bash, with the script that the command line prints."""
    pytest.importorskip("shtab")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    code, out, err = run("completion", "bash")
    assert (code, err) == (0, "")
    (project / "completion.bash").write_text(out, encoding="utf-8")

    def completed(*words):
        command = [bash, "--norc", "-c", COMPLETE, "bash", "opflops", *words]
        found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=project)
        return set(found.stdout.split())

    return completed


def test_subcommands_and_options_are_completed(complete):
    """At the beginning, after a target, and in a subcommand."""
    assert complete("") == {"diff", "coverage", "models", "devices", "completion"}
    assert complete("di") == {"diff"}
    assert complete("--expand", "mymod") == {"mymodels.py"} or complete("--expand", "--back") == {"--backward"}
    assert complete("--back") == {"--backward"}
    assert complete("mymodels:Net", "--dev") == {"--device"}
    assert complete("diff", "a.json", "b.json", "--fail") == {"--fail-above"}
    assert "--fail-above" not in complete("--fail")


def test_values_of_options_are_completed(complete):
    """Devices, formats, sources, shells, and files."""
    assert complete("--device", "c") == {"cpu", "cuda"}
    assert complete("--format", "js") == {"json"}
    assert complete("models", "t") == {"torchvision", "timm"}
    assert complete("completion", "") == {"bash", "zsh", "tcsh"}
    assert complete("-o", "mymod") == {"mymodels.py"}
    assert complete("diff", "mymod") == {"mymodels.py"}


def test_every_option_can_be_completed(complete):
    """Those of counting, as its parser has them."""
    every = {name for action in arguments.count_parser()._actions for name in action.option_strings}
    assert complete("-") >= every


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_script_for_each_shell(run, shell):
    """Something that names the program."""
    pytest.importorskip("shtab")
    code, out, err = run("completion", shell)
    assert (code, err) == (0, "")
    assert "opflops" in out


@pytest.mark.parametrize(
    ("argv", "package", "installs"),
    [
        (["completion", "bash"], "shtab", "'opflops[completion]'"),
        (["--format", "page"], "plotly", "'opflops[html]'"),
        (["torchvision:resnet50"], "torchvision", "'opflops[models]' torch=="),
        (["timm:resnet50"], "timm", "'opflops[models]' torch=="),
        (["hf:gpt2"], "transformers", "transformers huggingface_hub"),
        (["models", "timm"], "timm", "'opflops[models]' torch=="),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_missing_extra_is_the_line_that_installs_it(mistaken, monkeypatch, argv, package, installs):
    """And not a traceback."""
    for name in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install {installs}" in mistaken(*argv)


def test_a_package_built_for_another_torch_is_reported_likewise(run, project, capsys):
    """It fails with a RuntimeError when it is imported."""
    (project / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')", encoding="utf-8")
    sys.modules.pop("timm", None)
    sys.path.insert(0, str(project))
    assert main(["timm:resnet50"]) == 2
    err = capsys.readouterr().err
    assert "operator torchvision::nms does not exist" in err
    assert "pip install 'opflops[models]'" in err
