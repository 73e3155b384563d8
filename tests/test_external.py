"""Models of other libraries, for all sizes: torchvision and transformers, of the extra ``models``; skipped without."""

import pytest
import required
import torch
from test_symbolic import whole
from torch.export import Dim

from opflops import OpFlopMode, count

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

B, S, H, W = Dim("batch"), Dim("seq"), Dim("height"), Dim("width")


def exact(model, inputs, spec, example, sizes, **options):
    """See that a count for all sizes is, at each of some, what a concrete count is."""
    profile = count(model, dynamic_shapes=spec, **inputs(**example), **options)
    for each in (example, *sizes):
        assert whole(profile.at(**each)) == whole(count(model, **inputs(**each), **options)), each
    return profile


def image(batch, height=64, width=64):
    return {"x": torch.zeros(batch, 3, height, width)}


@pytest.mark.parametrize("options", [{}, {"backward": True}], ids=["forward", "backward"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "convnext_tiny", "regnet_y_400mf"])
def test_convolutional_networks_of_torchvision(name, options):
    """In the batch, the height and the width; the published figure at the published size."""
    models = required.models("torchvision.models")
    model = getattr(models, name)()
    sizes = [{"batch": 1, "height": 224, "width": 224}, {"batch": 3, "height": 97, "width": 130}]
    profile = exact(model, image, {"x": {0: B, 2: H, 3: W}}, {"batch": 2, "height": 96, "width": 128}, sizes, **options)
    published = models.get_model_weights(name).DEFAULT.meta["_ops"]
    size = models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
    forward = profile.where(phase="forward").at(batch=1, height=size, width=size).total.macs
    assert forward / 1e9 == pytest.approx(published, abs=0.02)


def test_a_vision_transformer_of_torchvision():
    """In the batch; its table of positions fixes the image's size."""
    models = required.models("torchvision.models")
    exact(
        models.vit_b_16(),
        lambda batch: {"x": torch.zeros(batch, 3, 224, 224)},
        {"x": {0: B}},
        {"batch": 2},
        [{"batch": 1}, {"batch": 5}],
        backward=True,
    )


def ids(batch, seq):
    return {"input_ids": torch.zeros(batch, seq, dtype=torch.int64)}


CONFIGURATIONS = {
    "llama": lambda transformers: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=100,
        )
    ),
    "gpt2": lambda transformers: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=100, n_positions=512)
    ),
    "bert": lambda transformers: transformers.BertModel(
        transformers.BertConfig(
            hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, vocab_size=100
        )
    ),
    "t5 encoder": lambda transformers: transformers.T5EncoderModel(
        transformers.T5Config(d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4, vocab_size=100)
    ),
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"backward": True}], ids=["forward", "backward"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_language_models_of_transformers(name, options):
    """In the batch and the sequence; from configurations, without weights."""
    transformers = required.models("transformers")
    model = CONFIGURATIONS[name](transformers)
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    sizes = [{"batch": 1, "seq": 33}, {"batch": 3, "seq": 128}]
    exact(model, ids, {"input_ids": {0: B, 1: S}}, {"batch": 2, "seq": 16}, sizes, **options)


SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
MASKED = {
    "gpt2": lambda transformers: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, n_positions=64)
    ),
    "llama": lambda transformers: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SIZES, num_key_value_heads=2)
    ),
    "mistral, a window of 8": lambda transformers: transformers.MistralForCausalLM(
        transformers.MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=8)
    ),
    "bert": lambda transformers: transformers.BertModel(transformers.BertConfig(**SIZES)),
    "modernbert, a window of 8": lambda transformers: transformers.ModernBertModel(
        transformers.ModernBertConfig(**SIZES, local_attention=8, pad_token_id=0)
    ),
    "t5": lambda transformers: transformers.T5ForConditionalGeneration(
        transformers.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=64)
    ),
}


def with_padding(name, hidden):
    """Make token ids, and a padding mask of ones that hides some of the last sequence's tokens at its end."""
    given = {"input_ids": torch.randint(3, 60, (2, 16))}
    if name == "t5":
        given["decoder_input_ids"] = torch.randint(3, 60, (2, 12))
    if hidden is not None:
        given["attention_mask"] = torch.ones(2, 16, dtype=torch.int64)
        given["attention_mask"][1, 16 - hidden :] = 0
    return given


@pytest.mark.parametrize("causal", ["dense", "exact"])
@pytest.mark.parametrize("hidden", [None, 0, 5])
@pytest.mark.parametrize("name", MASKED)
def test_a_count_of_transformers_is_a_run(name, hidden, causal):
    """Under fakes the models make the masks of a run: none, padding, windows, and biases of positions."""
    model = MASKED[name](required.models("transformers")).eval()
    given = with_padding(name, hidden)
    for options in ({}, {"use_cache": False} if hasattr(model.config, "use_cache") else {}):
        with torch.no_grad(), OpFlopMode(causal=causal) as m:
            model(**given, **options)
        with torch.no_grad():
            counted = count(model, causal=causal, **given, **options)
        assert counted.total[:3] == m.total[:3]
        kernels = [row for row in m.profile.rows if "attention" in row.op]
        assert kernels
        assert not any(row.estimate for row in kernels)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral, a window of 8", "bert"])
def test_a_formula_of_transformers_is_a_run(name, masked):
    """At every size the count is that of a run, with a padding mask of ones and without."""
    model = MASKED[name](required.models("transformers")).eval()
    inputs = {"input_ids": {0: B, 1: S}, **({"attention_mask": {0: B, 1: S}} if masked else {})}

    def make(batch, seq):
        return {each: torch.ones(batch, seq, dtype=torch.int64) for each in inputs}

    with torch.no_grad():
        profile = count(model, dynamic_shapes=inputs, **make(2, 16))
    for batch, seq in ((2, 16), (3, 33), (1, 24)):
        with torch.no_grad(), OpFlopMode() as m:
            model(**make(batch, seq))
        assert profile.at(batch=batch, seq=seq).total[:3] == m.total[:3]
