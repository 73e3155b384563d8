"""What a new user sees first: no warnings of other libraries, and lines that install what is missing."""

import subprocess
import sys

import pytest

from opflops.extras import import_torch, install_line

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
    assert done.stderr == ""


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


def test_only_the_extra_that_may_replace_pytorch_says_so():
    """With the line that does not."""
    assert install_line("html") == "pip install 'opflops[html]'"
    assert "to keep it: pip install transformers huggingface_hub for hf:NAME" in install_line("models")
