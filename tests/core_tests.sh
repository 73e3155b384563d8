#!/usr/bin/env bash
# The tests of what depends on the version of PyTorch, in the environment that is active. Further arguments are pytest's;
# with --list alone, the files and folders are printed.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=(
    tests/formulas tests/test_torch_internals.py tests/test_tracing_internals.py tests/test_mode.py tests/test_models.py
    tests/test_backward.py tests/test_counting.py tests/test_known_values.py tests/test_higher_order.py tests/test_memory.py
    tests/test_module_names.py tests/test_tensor_subclasses.py tests/test_largest_size.py
)
newer=(tests/test_symbolic.py)
if [[ ${1-} == --list ]]; then
    printf '%s\n' "${tests[@]}" "${newer[@]}"
    exit
fi
left_out=() options=()
version=$(python -c 'import torch; print(".".join(torch.__version__.split(".")[:2]))')
case $version in
    2.12)
        # Its fake kernels fix sizes in convolutions and caches, so count(dynamic_shapes=...) refuses such models with an
        # error (tests/test_symbolic.py is for newer ones). The rest compares with what this version lacks or computes
        # in another way: names of operators, references, calls of fake kernels. It warns where newer ones do not.
        options=(-W "ignore:Sparse invariant checks:UserWarning" -W "ignore:Warning:UserWarning")
        left_out=(
            tests/formulas/test_extension.py::test_moves
            tests/formulas/test_pointwise.py::test_agrees_with_the_reference_decomposition
            tests/formulas/test_reduction.py::test_every_overload_of_the_family_is_compared
            tests/test_counting.py::test_counting_on_meta_takes_fewer_calls_than_running_there
            tests/test_counting.py::test_what_is_on_meta_can_be_counted_as_if_elsewhere
            tests/test_torch_internals.py::test_newer_operators_exist_in_the_newest_pytorch
        )
        ;;
    *) tests+=("${newer[@]}") ;;
esac
python -m pytest -q -n 2 --dist worksteal "${options[@]}" "${left_out[@]/#/--deselect=}" "$@" "${tests[@]}"
