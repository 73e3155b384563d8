#!/usr/bin/env bash
# Build the wheel and the sdist into the folder that is given, check what is in them, install the wheel into an empty
# environment, and run the README's blocks there: the tests are the sdist's, and no checkout is in sight.
set -euo pipefail
mkdir -p "$1"
packages=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

python3 -m venv "$work/build"
"$work/build/bin/pip" install --quiet build==1.6.1 twine==7.0.0
"$work/build/bin/python" -m build --outdir "$packages" .
"$work/build/bin/twine" check --strict "$packages"/*
python3 tests/package_contents.py "$packages"

# Alone first, as a user installs it: with nothing but what it needs.
python3 -m venv "$work/user"
"$work/user/bin/pip" install --quiet -c tests/constraints.txt "$packages"/opflops-*.whl
(cd "$work" && user/bin/opflops --version && user/bin/opflops opflops.example:SimpleCNN --input 1,3,32,32 --quiet > /dev/null)

"$work/user/bin/pip" install --quiet -c tests/constraints.txt "$(echo "$packages"/opflops-*.whl)[test]"
mkdir "$work/sdist"
tar -xzf "$packages"/opflops-*.tar.gz -C "$work/sdist" --strip-components 1
rm -r "$work/sdist/opflops"
cd "$work/sdist"
# shellcheck disable=SC1091
source "$work/user/bin/activate"
pytest -q -n 2 tests/test_readme.py tests/test_example.py tests/test_release.py
