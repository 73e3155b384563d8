"""torchinfo's tests, which its packages do not have: name a checkout of the release, ``git clone -b v1.8.0``.

Most compare what is printed with a file, number by number. Left out are the tests that download weights or need the
package compressai, and those that need CUDA skip themselves.
"""

from suite import Suite

BIAS = "It counts a mult-add for each bias: k products and a bias are k multiplications and k additions."
NORM = f"{BIAS} It also counts the weights of a norm, once for each image."
UNUSED = "The parameter is returned as it is, without any arithmetic, and counted as one mult-add an element."
RNN = (
    "It counts biases, and the rows of an embedding that only looks them up; the bytes of the other outputs are missed."
)
FUNCTIONAL = "torch.mm and the bytes of parameters of modules that have modules are missed."

SUITE = Suite(
    tests=("tests/*_test.py",),
    replace={
        r"^from torchinfo\b": "from opflops.compat.torchinfo",
        r"^from compressai.*$": "image_models = {}",
    },
    edited=("tests/*.py",),
    removed=("torchinfo",),
    fails={
        **{
            f"torchinfo_test::test_{name}": BIAS
            for name in (
                *("string_result", "single_input", "input_tensor", "batch_size_optimization", "row_settings"),
                *("single_input_all_cols", "single_input_batch_dim", "formatting_options", "device", "siamese_net"),
                *("recursive", "model_with_args", "autoencoder"),
            )
        },
        "exceptions_test::test_forward_pass_exception": BIAS,
        "torchinfo_test::test_too_many_relus": NORM,
        "torchinfo_test::test_recursive_with_missing_layers": NORM,
        "torchinfo_xl_test::test_ascii_only": NORM,
        "torchinfo_xl_test::test_frozen_layers": NORM,
        "torchinfo_xl_test::test_resnet18_depth_consistency": NORM,
        "torchinfo_xl_test::test_google": f"{NORM} Params size lacks the modules that were not called.",
        "torchinfo_xl_test::test_tmva_net_column_totals": (
            f"{NORM} A transposed convolution is counted on its output, where it has as many products on its input."
        ),
        "torchinfo_xl_test::test_bert": (
            "A linear layer is counted for one token of each sentence, and attention is missed."
        ),
        "torchinfo_test::test_pruning": "Pruned weights are zeros, which a convolution multiplies like other numbers.",
        "torchinfo_test::test_custom_parameter": UNUSED,
        "torchinfo_test::test_input_size_possibilities": UNUSED,
        "torchinfo_test::test_pruned_adversary": UNUSED,
        "torchinfo_test::test_module_dict": "The weight of a PReLU is counted as a mult-add.",
        "torchinfo_test::test_jit": "What a scripted model computes is missed, and what it returns.",
        "torchinfo_test::test_partial_jit": "What a scripted model computes is missed, and what it returns.",
        "torchinfo_test::test_lstm": RNN,
        "torchinfo_test::test_lstm_custom_batch_size": f"{RNN} A wrong dimension is shown as 1.",
        "torchinfo_test::test_pack_padded": (
            "An LSTM of 906 packed steps is counted as one of 906 steps of 32 sequences, and an embedding is counted."
        ),
        "torchinfo_test::test_parameter_list": "Params size lacks the parameters of modules that have modules, and the "
        "forward pass what these return.",
        "torchinfo_test::test_parameters_with_other_layers": FUNCTIONAL,
        "torchinfo_test::test_return_dict": f"{BIAS} The shape of a dictionary is shown inside a second list.",
    },
    needs=("torchvision", "transformers", "packaging", "numpy"),
    options=(
        "--deselect=tests/torchinfo_xl_test.py::test_eval_order_doesnt_matter",
        "--deselect=tests/torchinfo_xl_test.py::test_flan_t5_small",
        "--deselect=tests/torchinfo_xl_test.py::test_compressai",
    ),
)
