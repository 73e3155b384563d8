"""The example of calflops that needs no weights, run as a test. Its packages do not have it: name a checkout."""

from suite import Suite

SUITE = Suite(
    tests=("test_examples/test_cnn.py",),
    replace={
        # It installs calflops.
        r"^os\.system\(.*\)": "",
        r"from calflops import": "from opflops.compat.calflops import",
        # A script, of which this makes a function.
        r"^(?=.)": "    ",
        r"\A": "def test_cnn():\n",
    },
    fails={},
    needs=("torchvision",),
    options=("-W", "ignore"),
)
