"""``opflops.compat.calflops``, with figures by hand, and with stand-ins for transformers and its tokenizers."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from opflops.compat import calflops, transformers_inputs
from opflops.compat.calflops import calculate_flops, calculate_flops_hf, generate_transformer_input
from opflops.errors import MissingExtraError, OpflopsError

# Of a batch of 5: 5*4*3 and 5*3*2 multiply-accumulates; 5*3 and 5*2 additions of a bias, and 5*3 maxima.
MACS = 5 * 4 * 3 + 5 * 3 * 2
FLOPS = 2 * MACS + 5 * 3 + 5 * 2 + 5 * 3
PARAMS = 4 * 3 + 3 + 3 * 2 + 2


def small():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def figures_of(model, *args, **kwargs):
    return calculate_flops(model, args=[*args], kwargs=kwargs, print_results=False, output_as_string=False)


def test_a_model_has_the_figures_by_hand_in_calflops_order():
    """Flops, macs, params: integers, and text with units."""
    figures = calculate_flops(small(), (5, 4), print_results=False, output_as_string=False)
    assert figures == (FLOPS, MACS, PARAMS)
    assert [type(each) for each in figures] == [int, int, int]
    assert calculate_flops(small(), (5, 4), print_results=False) == (f"{FLOPS} FLOPS", f"{MACS} MACs", f"{PARAMS}")


def test_text_has_the_unit_and_the_decimals_that_are_asked_for():
    """Of flops and macs with a name, of parameters without."""
    wide = nn.Linear(1234, 5678, bias=False)
    options = {"print_results": False, "output_precision": 3, "output_unit": "M"}
    assert calculate_flops(wide, (7, 1234), **options) == ("98.093 MFLOPS", "49.047 MMACs", "7.007 M")
    assert calculate_flops(wide, (7, 1234), print_results=False) == ("98.09 MFLOPS", "49.05 MMACs", "7.01 M")
    with pytest.raises(OpflopsError, match="'GFLOPs'"):
        # Before the model runs, which it cannot with this shape.
        calculate_flops(wide, (7, 1), print_results=False, output_unit="GFLOPs")


def test_backward_is_a_multiple_of_forward():
    """Two forward passes by default, and floats, as the factor is; trainable parameters alone."""
    model = small()
    model[0].requires_grad_(False)
    options = {"print_results": False, "output_as_string": False, "include_backPropagation": True}
    assert calculate_flops(model, (5, 4), **options) == (3 * FLOPS, 3 * MACS, 8)
    figures = calculate_flops(model, (5, 4), compute_bp_factor=0.5, **options)
    assert figures == (1.5 * FLOPS, 1.5 * MACS, 8)
    assert [type(each) for each in figures] == [float, float, int]


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3, bias=False)

    def forward(self, x, scale=None, flag=False):
        assert not self.training
        out = self.linear(x)
        return out if scale is None else out * scale

    def generate(self, x):
        return self(self(x)[:, [0, 0, 0, 0]])


def test_arguments_come_by_position_and_by_keyword_and_stay_as_they_are():
    """What is no tensor too; the training flag comes back, and no attribute or hook is left."""
    model, x, scale = Several(), torch.ones(2, 4), torch.ones(3)
    names = {name: [*each] for name, each in vars(model).items() if isinstance(each, dict)}
    args, kwargs = [x, scale], {"scale": scale, "flag": None}
    assert figures_of(model, x) == (48, 24, 12)
    assert figures_of(model, *args) == figures_of(model, x, **kwargs) == (48 + 6, 24, 12)
    assert calculate_flops(model, (2, 4), None, None, None, print_results=False) == ("48 FLOPS", "24 MACs", "12")
    assert args[0] is x
    assert kwargs == {"scale": scale, "flag": None}
    assert model.training
    assert {name: [*each] for name, each in vars(model).items() if isinstance(each, dict)} == names
    generated = calculate_flops(model, (2, 4), forward_mode="generate", print_results=False, output_as_string=False)
    assert generated == (96, 48, 12)


def test_a_model_without_parameters_counts():
    """It has no device of its own."""
    assert calculate_flops(nn.ReLU(), (5, 4), print_results=False) == ("20 FLOPS", "0 MACs", "0")


def test_shared_modules_and_fused_attention_count_right():
    """A module under two parents once for each call; attention that one kernel computes."""
    linear = nn.Linear(4, 4, bias=False)
    assert figures_of(nn.Sequential(nn.Sequential(linear), nn.Sequential(linear)), torch.ones(2, 4)) == (128, 64, 16)
    x = torch.ones(2, 3, 4)
    assert figures_of(nn.MultiheadAttention(4, 2, batch_first=True), x, x, x)[1] == 6 * 4 * 12 + 2 * 6 * 3 * 4 + 6 * 16
    assert (
        figures_of(nn.ConvTranspose2d(4, 8, 3, groups=4, bias=False), torch.ones(2, 4, 5, 5))[1] == 2 * 25 * 4 * 2 * 9
    )


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_integers_and_quantized_layers_count():
    """A product of int64 and a sum; a Linear that quantizes its input, as much as one in floating point at least."""
    ids = torch.ones(2, 4, dtype=torch.int64)
    model = nn.Module()
    model.forward = lambda x: torch.mul(x @ x.T, 3)
    assert figures_of(model, ids) == figures_of(model, ids.float()) == (2 * 2 * 2 * 4 + 4, 16, 0)
    quantized = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), {nn.Linear})
    flops, macs, _ = figures_of(quantized, torch.ones(2, 4))
    assert macs == 2 * 4 * 3
    assert flops >= 2 * macs + 6 + 6


def test_a_packed_sequence_counts_by_its_true_lengths():
    """Of 5, 3 and 1 steps; calflops raises."""
    packed = nn.utils.rnn.pack_padded_sequence(torch.ones(5, 3, 10), [5, 3, 1])
    assert figures_of(nn.LSTM(10, 20), packed)[1] == (5 + 3 + 1) * 4 * 20 * (10 + 20)


def test_ignored_classes_lose_their_own_work():
    """Here the second of two kinds; parameters stay."""
    figures = calculate_flops(small(), (5, 4), ignore_modules=[nn.ReLU], print_results=False, output_as_string=False)
    assert figures == (FLOPS - 15, MACS, PARAMS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": 3, "input_shape": (5, 4)}, "model is int"),
        ({}, "input_shape"),
        ({"input_shape": [5, 4]}, "tuple"),
        ({"input_shape": (5, 4), "args": [torch.ones(5, 4)]}, "together with args"),
        ({"input_shape": (5, 4), "kwargs": {"x": 1}}, "together with args or kwargs"),
        ({"input_shape": (5, 4), "forward_mode": "train"}, "forward_mode='train'"),
        ({"input_shape": (5, 4, 3), "transformer_tokenizer": len}, r"two sizes.*\(5, 4, 3\)"),
    ],
)
def test_arguments_that_cannot_be_used_are_errors_of_both(arguments, words):
    """A subclass of OpflopsError, and the AssertionError that calflops raises."""
    for error in (OpflopsError, AssertionError):
        with pytest.raises(error, match=words):
            calculate_flops(**{"model": small(), **arguments})


REPORT = """
------------------------------------- Calculate Flops Results -------------------------------------
Notations:
Params: trainable parameters; MACs: multiply-accumulates;
FLOPs: floating-point operations, two for each MAC and one for each other; FLOPS: FLOPs in a second;
fwd, bwd: forward and backward pass;
a backward pass is taken to cost 2.00 times as much as a forward pass.

Total Training Params:                                                  8       \n\
fwd MACs:                                                               0.09 KMACs
fwd FLOPs:                                                              0.22 KFLOPS
fwd+bwd MACs:                                                           0.27 KMACs
fwd+bwd FLOPs:                                                          0.66 KFLOPS
"""
DETAILS = """
Sequential(
  8 = 100% Params, 90 MACs = 100% MACs, 220 FLOPS = 100% FLOPs
  (0): Linear(0 = 0% Params, 60 MACs = 66.67% MACs, 135 FLOPS = 61.36% FLOPs, in_features=4, out_features=3, bias=True)
  (1): ReLU(0 = 0% Params, 0 MACs = 0% MACs, 15 FLOPS = 6.82% FLOPs)
  (2): Linear(8 = 100% Params, 30 MACs = 33.33% MACs, 70 FLOPS = 31.82% FLOPs, in_features=3, out_features=2, bias=True)
)
"""
END = "---------------------------------------------------------------------------------------------------\n"


def test_the_report_has_calflops_lines(capsys):
    """Totals in the unit that is asked for; modules in the one that fits, before PyTorch's own text of them."""
    model = small()
    model[0].requires_grad_(False)
    calculate_flops(model, (5, 4), output_unit="K", print_detailed=False)
    assert capsys.readouterr().out == REPORT + END
    calculate_flops(model, (5, 4), output_unit="K")
    text = capsys.readouterr().out
    assert text.startswith(f"{REPORT}\n-------------------------------- Detailed Calculated FLOPs Results -----------")
    assert text.endswith(DETAILS + END)
    calculate_flops(model, (5, 4), print_results=False)
    assert capsys.readouterr().out == ""


class Tokenizer:
    """Puts two tokens around a text."""

    pad_token_id = 9

    def __init__(self, **more):
        self.more = more

    def __call__(self, text, add_special_tokens):
        assert (text, add_special_tokens) == ("", True)
        return {"input_ids": [1, 2], "attention_mask": [1, 1], **self.more}


class OlderTokenizer(Tokenizer):
    pad_token_id = None

    def encode_plus(self, text, add_special_tokens):
        return Tokenizer.__call__(self, text, add_special_tokens)

    __call__ = None


@pytest.mark.parametrize(("tokenizer", "pad"), [(Tokenizer, 9), (OlderTokenizer, 0)])
def test_inputs_of_a_tokenizer_are_an_empty_text_padded_to_the_length(tokenizer, pad):
    """By a function or by encode_plus(); with the kinds of inputs that the tokenizer makes."""
    made = generate_transformer_input(tokenizer(), (2, 4), "cpu")
    assert {name: each.tolist() for name, each in made.items()} == {
        "input_ids": [[1, 2, pad, pad]] * 2,
        "attention_mask": [[1, 1, 0, 0]] * 2,
    }
    more = {"token_type_ids": [0, 1], "position_ids": [0, 1]}
    made = generate_transformer_input(model_tokenizer=tokenizer(**more), input_shape=(1, 3), device="meta")
    assert [*made] == ["input_ids", "attention_mask", "token_type_ids", "position_ids"]
    assert {each.device.type for each in made.values()} == {"meta"}
    made = generate_transformer_input(tokenizer(**more), (1, 4), "cpu")
    assert made["token_type_ids"].tolist() == [[0, 1, 0, 0]]
    assert made["position_ids"].tolist() == [[0, 1, 2, 3]]
    assert generate_transformer_input(tokenizer(), None, "cpu")["input_ids"].shape == (1, 128)
    with pytest.raises(OpflopsError, match=r"2 tokens.*length 1"):
        generate_transformer_input(tokenizer(), (1, 1), "cpu")


class Language(nn.Module):
    """Takes what a tokenizer makes."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)

    def forward(self, input_ids, attention_mask):
        return self.head(self.embedding(input_ids))


def test_a_tokenizer_makes_the_inputs_of_a_model():
    """Of a batch and a length; (1, 128) by default. A model of transformers needs one for an input shape."""
    options = {"transformer_tokenizer": Tokenizer(), "print_results": False, "output_as_string": False}
    assert calculate_flops(Language(), (2, 6), **options) == (2 * 2 * 6 * 40, 2 * 6 * 40, 80)
    assert calculate_flops(Language(), **options) == (2 * 128 * 40, 128 * 40, 80)
    foreign = type("Bert", (Language,), {"__module__": "transformers.models.bert"})()
    with pytest.raises(OpflopsError, match="tokenizer"):
        calculate_flops(foreign, (2, 6))


ACCOUNT = "of an account"


@pytest.fixture
def transformers(monkeypatch):
    """Stand for transformers; it notes what was asked for."""
    asked = []

    def read(kind, result):
        def from_pretrained(name, **options):
            asked.append((kind, name, options))
            return result

        return SimpleNamespace(from_pretrained=from_pretrained)

    config = SimpleNamespace(auto_map={"AutoConfig": "a", "AutoModelForCausalLM": "b"})
    model = SimpleNamespace(from_config=lambda config, trust_remote_code: Language())
    module = SimpleNamespace(
        AutoTokenizer=read("tokenizer", Tokenizer()), AutoConfig=read("config", config), AutoModelForCausalLM=model
    )
    monkeypatch.setitem(sys.modules, "transformers", module)
    return asked


def test_a_model_of_the_hub_is_counted_without_weights(transformers, capsys):
    """By its name or its page, on the meta device; the text is a fourth result if asked for."""
    name = "https://huggingface.co/someone/model/tree/main"
    figures = calculate_flops_hf(
        name, input_shape=(2, 6), access_token=ACCOUNT, output_as_string=False, return_results=True
    )
    assert figures[:3] == (2 * 2 * 6 * 40, 2 * 6 * 40, 80)
    assert figures[3] == capsys.readouterr().out
    assert "(head): Linear(40 = 50% Params" in figures[3]
    options = {"trust_remote_code": True, "token": ACCOUNT}
    assert transformers == [("config", "someone/model", options), ("tokenizer", "someone/model", options)]
    assert calculate_flops_hf("someone/model", print_results=False) == ("10.24 KFLOPS", "5.12 KMACs", "80")


def test_a_model_that_is_there_needs_only_its_tokenizer(transformers):
    """It is counted where it is, and stays in training mode."""
    model = Language()
    figures = calculate_flops_hf("folder", model, (1, 4), include_backPropagation=True, print_results=False)
    assert figures == ("960 FLOPS", "480 MACs", "80")
    assert [kind for kind, _, _ in transformers] == ["tokenizer"]
    assert model.training


def test_a_model_without_weights_may_look_at_its_mask(transformers):
    """As those of transformers do, which leave out a mask that hides nothing: the mask's values are known.

    It is on the device of the model's buffers nevertheless.
    """

    class Looks(Language):
        def __init__(self):
            super().__init__()
            self.register_buffer("shift", torch.ones(1))

        def forward(self, input_ids, attention_mask):
            out = super().forward(input_ids + attention_mask * self.shift.long(), attention_mask)
            return out if attention_mask.all() else super().forward(input_ids, attention_mask)

    figures = [
        calculate_flops_hf("folder", Looks().to("meta"), (1, length), print_results=False, output_as_string=False)
        for length in (2, 3)
    ]
    assert [macs for _, macs, _ in figures] == [2 * 40, 2 * 3 * 40]


def test_a_model_that_needs_values_gives_nothing_and_says_so(transformers, capsys):
    """As calflops does: a sentence, and three times None."""

    class NeedsValues(Language):
        def forward(self, input_ids, attention_mask):
            return self.head(self.embedding(input_ids)) if self.head.weight.sum() > 0 else input_ids

    assert calculate_flops_hf("folder", NeedsValues().to("meta")) == (None, None, None)
    text = capsys.readouterr().out
    assert "folder failed on tensors without values" in text
    assert "calculate_flops(model, transformer_tokenizer=tokenizer)" in text


def test_an_empty_model_is_one_of_transformers_or_timm(transformers, monkeypatch):
    """Others must be made by the user; what is not installed is named with its install line."""
    model = calflops.create_empty_model("someone/model", None)
    assert {each.device.type for each in model.parameters()} == {"meta"}
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=lambda name, pretrained: Language()))
    assert isinstance(transformers_inputs.create_empty_model("resnet", "timm"), Language)
    with pytest.raises(OpflopsError, match="'diffusers'"):
        calflops.create_empty_model("someone/model", "diffusers")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match="pip install transformers huggingface_hub"):
        calculate_flops_hf("someone/model")
