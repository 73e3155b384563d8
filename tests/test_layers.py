"""The architecture: imports point to lower layers, the mechanism knows no operator, renderers see no tensor."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "opflops"

# Lowest first. A room may import from lower layers, and the files of one folder from each other.
LAYERS = [
    ["errors"],
    ["algebra", "extras", "wording"],
    ["torch_internals", "expressions"],
    ["cost", "units"],
    ["traffic", "tally"],
    ["binding"],
    ["recording", "prices"],
    ["registry"],
    ["formulas", "lineage", "trees", "rows", "metadata"],
    ["dimensions", "devices"],
    ["bounds"],
    ["scope"],
    ["bodies"],
    ["higher_order"],
    ["watching"],
    ["report"],
    ["scaling", "roofline"],
    ["views"],
    ["profile"],
    ["mode"],
    ["places", "captures"],
    ["calls"],
    ["axes", "trials"],
    ["stand_ins"],
    ["symbolic"],
    ["counting", "example", "annotation", "measuring"],
    ["budgets"],
    ["__init__"],
    ["integrations"],
    ["cli"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path, *, with_types=False):
    """Name the modules that a file imports anywhere, those for type checkers only if asked for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not with_types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path, **options):
    for name in imports(path, **options):
        parts = name.split(".")
        if parts[0] == "opflops" and len(parts) > 1 and parts[1] in LEVEL:
            yield parts[1]


def test_every_room_has_a_layer():
    """A new file must say where it belongs."""
    assert {room_of(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_to_lower_layers(path):
    """Late imports and imports for types included."""
    room = room_of(path)
    for other in rooms_imported(path, with_types=True):
        assert other == room or LEVEL[other] < LEVEL[room], f"{room} imports {other}"


@pytest.mark.parametrize(
    "room",
    [
        *("rows", "report", "profile", "units", "algebra", "expressions", "dimensions", "scaling"),
        *("devices", "bounds", "roofline", "views", "budgets"),
    ],
)
def test_what_is_right_of_the_recording_never_sees_torch(room):
    """Rows and reports are plain values."""
    for path in FILES:
        if room_of(path) == room:
            assert not any(name.split(".")[0] == "torch" for name in imports(path)), path


@pytest.mark.parametrize(
    "room",
    [
        *("binding", "recording", "prices", "registry", "scope", "mode", "traffic", "torch_internals/__init__"),
        *(
            "calls",
            "metadata",
            "places",
            "axes",
            "trials",
            "stand_ins",
            "symbolic",
            "torch_internals/symbols",
            "counting",
        ),
    ],
)
def test_the_mechanism_knows_no_operator_by_name(room):
    """Outside docstrings and messages, nothing of the mechanism mentions an operator.

    Only the private room's stand-ins for what PyTorch wrote for plain sizes call some.
    """
    tree = ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"))
    named = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(("torch.ops.", "aten."))
    ]
    assert named == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "formulas").glob("*.py")), ids=lambda path: path.name)
def test_formulas_know_no_mode(path):
    """A formula is a function of sizes; it imports what is below the registry, and other formulas."""
    assert set(rooms_imported(path)) <= {
        "cost",
        "errors",
        "binding",
        "registry",
        "formulas",
        "traffic",
        "torch_internals",
    }


def test_private_torch_interfaces_are_in_one_room():
    """No other file mentions torch._something, except operators whose names begin so."""
    for path in FILES:
        if room_of(path) == "torch_internals":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        private = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.endswith("__")
            and ast.unparse(node).startswith("torch.")
            and not ast.unparse(node).startswith("torch.ops.")
        ]
        private += [
            name for name in imports(path) if name.startswith("torch.") and "._" in name and "pytree" not in name
        ]
        assert private == [], path


def test_importing_opflops_imports_nothing_heavy():
    """Torch and tabulate, and what torch brings; no plotting, no compiler."""
    code = (
        "import torch, sys; before = set(sys.modules); from opflops import *; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(ast.literal_eval(found)) - set(sys.stdlib_module_names) <= {"opflops", "tabulate", "torch", "wcwidth"}


def test_importing_the_package_alone_imports_no_torch():
    """A test runner that loads the plugin, or the command line's help, does not wait for it."""
    code = "import sys, opflops, opflops.integrations.pytest_plugin; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found == "False\n"


def test_public_names_are_where_the_package_says():
    """The list, what type checkers see and what is imported on demand are the same."""
    import opflops  # noqa: PLC0415 - the other tests look at text alone

    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("opflops.")
        for alias in node.names
    }
    assert sorted(typed) == sorted(opflops.__all__)
    for name, module in typed.items():
        assert getattr(opflops, name) is getattr(sys.modules[module], name)
        assert name in dir(opflops)


def test_what_is_not_there_is_an_attribute_error():
    """As of any module; rooms are attributes, imported or not."""
    import opflops  # noqa: PLC0415 - the other tests look at text alone

    assert not hasattr(opflops, "flops")
    assert opflops.rows.KEYS[0] == "module"


def test_every_public_name_is_documented():
    """An imperative first line for each, and for each public method and property."""
    import opflops  # noqa: PLC0415 - the other tests look at text alone

    for name in opflops.__all__:
        public = getattr(opflops, name)
        assert public.__doc__, name
        if isinstance(public, type):
            for attribute, value in vars(public).items():
                if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                    assert value.__doc__, f"{name}.{attribute}"
