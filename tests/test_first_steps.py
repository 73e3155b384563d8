"""What a new user sees first: no warnings of other libraries, and lines that install what is missing."""

import subprocess
import sys
from importlib import metadata

import pytest
import torch
from torch import nn

from opflops import ProfileError, count
from opflops.cli import main
from opflops.cli.count import _NEXT
from opflops.cli.targets import EXAMPLE
from opflops.errors import MissingExtraError
from opflops.extras import how_to_install, import_torch, optional

# Stands for an environment without NumPy: PyTorch cannot import it, and looks for it when it is imported.
_WITHOUT_NUMPY = "import sys; sys.modules['numpy'] = None; sys.argv = ['opflops']\n"


@pytest.mark.parametrize(
    "program",
    [
        "import runpy; runpy.run_module('opflops', run_name='__main__')",
        "from opflops import OpFlopMode\nwith OpFlopMode() as m: pass\nimport torch\nstr(m)",
    ],
    ids=["command line", "block"],
)
def test_a_missing_numpy_is_no_warning(program):
    """Neither on the command line nor in a program that imports opflops first."""
    done = subprocess.run([sys.executable, "-c", _WITHOUT_NUMPY + program], capture_output=True, text=True, check=True)
    assert done.stderr in ("", f"{_NEXT}\n")


def test_the_example_says_what_to_type_next(capsys):
    """The last line, on stderr, names the form of a target; a target, a file and --quiet need none."""
    assert main([]) == main(["--quiet"]) == main([EXAMPLE]) == main(["--format", "csv"]) == 0
    assert capsys.readouterr().err == f"{_NEXT}\n"


def test_a_page_that_cannot_be_written_is_an_error_before_the_count(monkeypatch, tmp_path, capsys):
    """Counting may take minutes, and would be in vain: the target, which does not exist, is not looked for."""
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert main(["no_such_file.py:Net", "-o", str(tmp_path / "page.html")]) == 2
    assert "pip install 'opflops[html]'" in capsys.readouterr().err


def test_a_module_by_its_name_in_the_model_is_met_with_its_path():
    """A profile's paths begin with the class of the model, unlike those of named_modules()."""
    model = nn.Sequential()
    for place in range(30):
        model.append(nn.ReLU() if place else nn.Linear(4, 4))
    model.add_module("fc", nn.Linear(4, 4))
    with pytest.raises(ProfileError, match=r"There is no module 'fc'; did you mean Sequential\.fc\?"):
        count(model, torch.ones(1, 4)).where(module="fc")


def test_other_warnings_and_filters_stay():
    """The user's own warnings are shown, and no filter is left behind."""
    program = (
        "import warnings; warnings.simplefilter('always'); from opflops import OpFlopMode\n"
        "assert not [each for each in warnings.filters if each[1] and 'NumPy' in str(each[1])]\n"
        "warnings.warn('Failed to initialize NumPy: No module named numpy, says the user')"
    )
    done = subprocess.run([sys.executable, "-c", _WITHOUT_NUMPY + program], capture_output=True, text=True, check=True)
    assert done.stderr.count("UserWarning") == 1
    assert "says the user" in done.stderr
    import_torch()


@pytest.mark.parametrize(
    ("installed", "end"),
    [
        ("2.13.0", " torch==2.13.0"),
        ("2.13.0+cpu", " torch==2.13.0+cpu --extra-index-url https://download.pytorch.org/whl/cpu"),
        ("2.14.1+cu130", " torch==2.14.1+cu130 --extra-index-url https://download.pytorch.org/whl/cu130"),
        ("2.14.0a0+git1234", " torch==2.14.0a0+git1234"),
    ],
)
def test_the_line_for_models_keeps_the_installed_pytorch(monkeypatch, installed, end):
    """It names the release, and the index of its builds, as https://pytorch.org/get-started/locally does."""

    def version(name):
        assert name == "torch"
        return installed

    monkeypatch.setattr(metadata, "version", version)
    command = f"pip install 'opflops[models]'{end}"
    assert how_to_install("models", "timm") == f"Install without replacing PyTorch: {command}"
    assert how_to_install("models", "transformers") == "Install it: pip install transformers huggingface_hub"
    assert how_to_install("html") == "Install it: pip install 'opflops[html]'"


def test_a_pytorch_that_pip_does_not_know_is_not_promised_to_stay(monkeypatch):
    """As one that was built in place: no line would keep it."""

    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert how_to_install("models", "timm") == "Install it: pip install 'opflops[models]'"


def test_a_torchvision_of_another_pytorch_is_to_be_removed_first(monkeypatch, tmp_path):
    """The line alone would leave one of the right release as it is. What is not there needs no removal."""
    (tmp_path / "other_build.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingExtraError, match=r"nms does not exist\).*Run pip uninstall torchvision first\. Install "
    ):
        optional("other_build", "models", "The target")
    with pytest.raises(MissingExtraError) as raised:
        optional("no_such_build", "models", "The target")
    assert "uninstall" not in str(raised.value)
