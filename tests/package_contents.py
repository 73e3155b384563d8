"""Check that the wheel and the sdist in a folder hold what they should, and nothing else."""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUFFIXES = {".py", ".js", ".css", ".html", ".typed"}
"""What the package is made of: code, the page's parts, and the mark that it has types."""
METADATA = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
SETTINGS = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
FOLDERS = {".ci", ".github", "benchmarks", "opflops", "tests"}


def files_below(*folders):
    """List the files of the checkout below folders, as paths from its root; what is made by running is left out."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not {"__pycache__", ".pytest_cache"} & set(path.parts)
    }


def faults_of_wheel(names):
    """List what a wheel lacks of the package, and what it has beside it."""
    package = files_below("opflops")
    strange = sorted(name for name in package if Path(name).suffix not in SUFFIXES)
    infos = {name.partition("/")[2] for name in names if ".dist-info/" in name}
    inside = {name for name in names if ".dist-info/" not in name}
    return [
        *(f"the wheel lacks {name}" for name in sorted(package - inside)),
        *(f"the wheel has {name}, which is no file of the package" for name in sorted(inside - package)),
        *(f"the package has {name}, of no known kind" for name in strange),
        *(f"the wheel's metadata differ by {name}" for name in sorted(infos ^ METADATA)),
    ]


def faults_of_sdist(names):
    """List what an sdist lacks of the checkout, and what it has beside it."""
    inside = {name.partition("/")[2] for name in names}
    expected = files_below(*FOLDERS) | SETTINGS
    return [
        *(f"the sdist lacks {name}" for name in sorted(expected - inside)),
        *(f"the sdist has {name}, too" for name in sorted(inside - expected)),
    ]


def main(folder):
    """Print what is wrong, if anything, and return the exit code."""
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        faults = faults_of_wheel({name for name in opened.namelist() if not name.endswith("/")})
    with tarfile.open(sdist) as opened:
        faults += faults_of_sdist({member.name for member in opened.getmembers() if member.isfile()})
    sys.stdout.write("".join(f"{fault}\n" for fault in faults) or f"{wheel.name} and {sdist.name} are whole\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
