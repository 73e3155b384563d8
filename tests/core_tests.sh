#!/usr/bin/env bash
# The tests of what depends on the version of PyTorch, in the environment that is active: the formulas, the private
# interfaces, the mode, counts without data, symbolic sizes and memory. Two minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pytest -q -n 2 --dist worksteal "$@" \
    tests/formulas tests/test_torch_internals.py tests/test_tracing_internals.py tests/test_mode.py tests/test_models.py \
    tests/test_counting.py tests/test_known_values.py tests/test_symbolic.py tests/test_higher_order.py tests/test_memory.py \
    tests/test_module_names.py tests/test_tensor_subclasses.py tests/test_largest_size.py
