"""Default configurations of transformers' model types, one after another, as ``hf:`` targets.

Each counts with the inputs that are proposed, or ends in an error with the options that make it count, which are tried.
With two layers of each kind, since the number of layers changes no input; ``benchmarks/transformers_targets.py`` counts
all types with all layers.
"""

import sys
from pathlib import Path

import pytest
import required

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import transformers_targets

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

TEXT = [
    "albert", "bart", "bert", "bert-generation", "big_bird", "bigbird_pegasus", "biogpt", "blenderbot", "bloom",
    "camembert", "canine", "codegen", "cohere", "convbert", "ctrl", "deberta", "deberta-v2", "distilbert",
    "electra", "ernie", "falcon", "fnet", "fsmt", "funnel", "gemma", "gpt2", "gpt_neo", "gpt_neox", "gptj", "led",
    "llama", "longformer", "longt5", "luke", "m2m_100", "mamba", "marian", "mbart", "megatron-bert", "mistral",
    "mobilebert", "mpnet", "mpt", "mt5", "nystromformer", "olmo", "openai-gpt", "opt", "pegasus", "plbart",
    "prophetnet", "qwen2", "recurrent_gemma", "rembert", "roberta", "roc_bert", "roformer", "splinter",
    "squeezebert", "starcoder2", "t5", "umt5", "xglm", "xlm", "xlnet",
]  # fmt: skip
IMAGES = [
    "beit", "bit", "conditional_detr", "convnext", "cvt", "dab-detr", "data2vec-vision", "deformable_detr", "deit",
    "depth_pro", "detr", "dinov2", "dpt", "efficientnet", "focalnet", "glpn", "hiera", "imagegpt", "levit",
    "lightglue", "mask2former", "maskformer", "mobilenet_v2", "mobilevit", "poolformer", "pvt", "regnet", "resnet",
    "sam", "sam2", "sam3", "segformer", "seggpt", "superpoint", "swin", "swin2sr", "swinv2", "timesformer",
    "videomae", "vit", "vit_mae", "vitdet", "vivit", "yolos",
]  # fmt: skip
IMAGES_AND_TEXT = [
    "align", "altclip", "aria", "blip", "blip-2", "bridgetower", "chinese_clip", "clip", "clipseg", "flava", "fuyu",
    "git", "groupvit", "idefics", "idefics2", "idefics3", "instructblip", "kosmos-2", "layoutlm", "layoutlmv3",
    "llava", "lxmert", "mllama", "oneformer", "owlvit", "owlv2", "paligemma", "perceiver", "pix2struct", "siglip",
    "udop", "vilt", "visual_bert", "bros",
]  # fmt: skip
SOUNDS = [
    "audio-spectrogram-transformer", "clap", "dac", "data2vec-audio", "dia", "encodec", "fastspeech2_conformer",
    "hubert", "kyutai_speech_to_text", "mimi", "moonshine", "parakeet_ctc", "pop2piano", "sew", "speech_to_text",
    "speecht5", "unispeech", "univnet", "voxtral", "wav2vec2", "wav2vec2-bert", "wavlm", "whisper",
]  # fmt: skip
SERIES = ["decision_transformer", "patchtsmixer", "patchtst", "timesfm"]

NEED_OPTIONS = {
    "autoformer": "its prediction length has no default",
    "chameleon": "its vocabulary has no image tokens",
    "deepseek_v2": "the number of experts for a token has no default",
    "emu3": "its vocabulary has no image tokens",
    "esm": "its vocabulary has no default",
    "informer": "its prediction length has no default",
    "time_series_transformer": "its prediction length has no default",
    "vitmatte": "its head expects another width than its backbone has",
}
"""Types whose defaults make no model that runs, and why: the error ends in options with which they count."""

NEVER_RUN = {
    # Its text is encoded apart from the image.
    "blip": ["text_model.encoder.layer.0.crossattention", "text_model.encoder.layer.1.crossattention"],
    # Poolers and projections of parts that the whole does not use.
    "bridgetower": ["text_model.pooler"],
    "decision_transformer": ["encoder.wte"],
    "flava": ["image_projection", "text_projection"],
    "seggpt": ["encoder.layernorm"],
    # Its feature extractor calls it, before the model.
    "pop2piano": ["mel_conditioner"],
    # Points, boxes and masks are prompts that may be left out.
    "sam": ["prompt_encoder.mask_embed", "prompt_encoder.point_embed", "prompt_encoder.not_a_point_embed"],
    "sam2": ["prompt_encoder.mask_embed"],
    "sam3": ["geometry_encoder", "mask_decoder.pixel_decoder.conv_layers.2", "mask_decoder.pixel_decoder.norms.2"],
    # Matches are taken after the last layer.
    "lightglue": ["match_assignment_layers.0.final_projection"],
    # No token is marked for global attention.
    "led": [f"encoder.layers.{layer}.self_attn.longformer_self_attn.{part}_global" for layer in (0, 1)
            for part in ("query", "key", "value")],
    "longformer": [f"encoder.layer.{layer}.attention.self.{part}_global" for layer in (0, 1)
                   for part in ("query", "key", "value")],
    # No entities are given beside the text.
    "luke": ["entity_embeddings", *(f"encoder.layer.{layer}.attention.self.{part}_query" for layer in (0, 1)
             for part in ("w2e", "e2w", "e2e"))],
    # Positions of an image are in another table.
    "udop": ["encoder.block.0.layer.0.SelfAttention.relative_attention_bias", "decoder.embed_patches",
             "decoder.relative_bias"],
}  # fmt: skip
"""Modules with parameters that never run with the proposed inputs, and why that is right."""


@pytest.mark.parametrize("model_type", [*TEXT, *IMAGES, *IMAGES_AND_TEXT, *SOUNDS, *SERIES])
def test_default_configurations_count_with_the_inputs_that_are_proposed(model_type):
    """All modules with parameters run, apart from those that only other uses of the model need."""
    required.models("transformers")
    outcome = transformers_targets.count_type(model_type, few_layers=True)
    assert outcome.result == "counted", outcome.error
    assert outcome.macs > 0
    assert set(outcome.unused) == set(NEVER_RUN.get(model_type, ()))


@pytest.mark.parametrize("model_type", NEED_OPTIONS)
def test_errors_of_defaults_that_make_no_model_end_in_options_that_work(model_type):
    """The options are read from the error, and the model counts with them."""
    required.models("transformers")
    outcome = transformers_targets.count_type(model_type, few_layers=True)
    assert outcome.result == "sentence", outcome.error
    assert outcome.macs > 0


def test_an_input_that_is_no_tensor_is_named():
    """It is the number of patches, which no option can give, so the error says what else to do."""
    required.models("transformers")
    outcome = transformers_targets.count_type("deepseek_ocr2_encoder", few_layers=True)
    assert outcome.result == "needs code", outcome.error
    assert outcome.error == (
        "DeepseekOcr2VisionEncoder.forward needs num_patches, which --input cannot give: it gives tensors alone. Write "
        "a function that calls the model, and count it as file.py:function."
    )


def test_a_module_that_is_not_read_is_found():
    """A reference for the check above: of two layers one is called, and of a third the weight is read."""
    torch = pytest.importorskip("torch")

    class Parts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.called, self.read, self.idle = (torch.nn.Linear(2, 2) for _ in range(3))

        def forward(self, x):
            return self.called(x) @ self.read.weight

    used = set()
    model = transformers_targets._with_paths(Parts(), used)
    with transformers_targets._reads_noted(used):
        model(torch.ones(1, 2))
    assert transformers_targets._outermost_unused(model, used) == ["idle"]
