"""The architecture: imports point to lower layers, the mechanism knows no operator, renderers see no tensor."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "opflops"

# Lowest first. A package may import from lower layers only; the files of one package may import one another.
LAYERS = [
    ["errors", "wording", "example"],
    ["records", "extras"],
    ["torch_internals", "devices", "units"],
    ["pricing", "attribution", "report"],
    ["formulas", "memory", "profile"],
    ["higher_order"],
    ["dispatch"],
    ["mode"],
    ["counting"],
    ["distributed"],
    ["compat"],
    ["__init__", "integrations", "cli"],
    ["__main__"],
]
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
FILES = sorted(PACKAGE.rglob("*.py"))
# The order of the packages inside a package.
INNER_LAYERS = {
    "report": [
        ["amounts", "timing_notes"],
        ["notes"],
        ["text"],
        ["files"],
        ["page", "plots", "notebook"],
        ["__init__"],
    ],
}
MAX_LINES, MAX_ROOT_FILES = 400, 9


def package_of(path):
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


def packages_imported(path, depth=0, **options):
    """Name the packages of opflops that a file imports, or with a depth those inside its own package."""
    above = path.relative_to(PACKAGE).parts[:depth]
    for name in imports(path, **options):
        parts = name.split(".")[1:]
        if name.startswith("opflops.") and tuple(parts[:depth]) == above and len(parts) > depth:
            yield parts[depth]


def test_every_package_has_a_layer():
    """A new package, or a new file at the root, must say where it belongs."""
    assert {package_of(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_to_lower_layers(path):
    """Late imports and imports for types included."""
    package = package_of(path)
    for other in packages_imported(path, with_types=True):
        if other in LEVEL:
            assert other == package or LEVEL[other] < LEVEL[package], f"{package} imports {other}"


@pytest.mark.parametrize("package", INNER_LAYERS)
def test_imports_inside_a_package_point_to_lower_layers(package):
    """The packages inside ``report`` have an order too."""
    level = {name: number for number, names in enumerate(INNER_LAYERS[package]) for name in names}
    for path in FILES:
        if package_of(path) == package:
            inside = path.relative_to(PACKAGE).parts[1].removesuffix(".py")
            for other in packages_imported(path, depth=1, with_types=True):
                if other in level:
                    assert other == inside or level[other] < level[inside], f"{path} imports {other}"


def test_files_of_a_package_import_one_another_in_no_circle():
    """Each file can be read after those that it imports; late imports included, those for types not."""
    modules = {".".join(("opflops", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {}
    for name, path in modules.items():
        named = set(imports(path)) & set(modules)
        # ``from package import module`` reads the module; of the package only what it is found by.
        packages = {each.rpartition(".")[0] for each in named}
        graph[name] = named - packages - {name}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path):
    """A file that is longer has two jobs."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_few_files_stand_at_the_root():
    """What belongs to a package stands in it."""
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_ROOT_FILES


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name == "__init__.py" and path.parent != PACKAGE],
    ids=lambda path: path.parent.name,
)
def test_a_package_says_what_it_may_import_and_who_may_import_it(path):
    """In the docstring of its ``__init__``."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert "ay import" in text
    assert re.search("imports? it|may import it", text)


@pytest.mark.parametrize("package", ["records", "report", "units"])
def test_what_is_right_of_the_recording_never_sees_torch(package):
    """Rows and reports are plain values."""
    for path in FILES:
        if package_of(path) == package:
            assert not any(name.split(".")[0] == "torch" for name in imports(path)), path


@pytest.mark.parametrize(
    "file",
    [
        *("devices/bounds", "profile/roofline", "profile/bottlenecks", "profile/resources"),
        *("profile/scaling", "profile/utilization", "profile/device_time"),
    ],
)
def test_questions_about_rows_are_answered_without_torch(file):
    """Bounds on time and growth are arithmetic on rows."""
    assert not any(name.split(".")[0] == "torch" for name in imports(PACKAGE / f"{file}.py"))


@pytest.mark.parametrize("package", ["pricing", "attribution", "dispatch", "mode", "counting", "torch_internals"])
def test_the_mechanism_knows_no_operator_by_name(package):
    """Outside docstrings and messages, nothing of the mechanism mentions an operator.

    Only the replacements for what PyTorch wrote for plain sizes alone, the corrections and replacements of its fake
    kernels, the views of fake tensors, the bounds of positions, and what ``torch.jit.trace`` leaves out, call or
    compare with some.
    """
    exceptions = {f"symint_{part}.py" for part in ("patches", "composites", "gradient", "indexing", "recurrent")}
    exceptions |= {
        "fake_kernel_fixes.py",
        "fake_normalizations.py",
        "fake_index_checks.py",
        "fake_size_checks.py",
        "known_bounds.py",
        "fake_dtype_checks.py",
        "fake_value_patches.py",
        "fake_views.py",
        "fake_layouts.py",
        "jit_tracing.py",
    }
    for path in FILES:
        if package_of(path) == package and path.name not in exceptions:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            named = [
                ast.unparse(node)
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(("torch.ops.", "aten."))
            ]
            assert named == [], path


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "formulas").rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE / "formulas"))
)
def test_formulas_know_no_mode(path):
    """A formula is a function of sizes; it imports what is below the registry, and other formulas."""
    assert set(packages_imported(path)) <= {"records", "errors", "pricing", "formulas", "torch_internals"}


def test_private_torch_interfaces_are_in_one_package():
    """No other file mentions torch._something, except operators whose names begin so."""
    for path in FILES:
        if package_of(path) == "torch_internals":
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
    code = "import sys, opflops, opflops.integrations.pytest_plugin; opflops.__version__; print('torch' in sys.modules)"
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
    """As of any module; packages are attributes, imported or not."""
    import opflops  # noqa: PLC0415 - the other tests look at text alone

    assert not hasattr(opflops, "flops")
    assert opflops.records.rows.KEYS[0] == "module"


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
