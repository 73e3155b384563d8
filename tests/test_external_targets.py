"""Targets of other libraries on the command line: torchvision, timm and transformers, of the extra ``models``.

They are skipped where a library is missing, unless the environment variable ``OPFLOPS_REQUIRE`` names ``models``.
"""

import importlib
import json
import os
import subprocess
import sys

import pytest
import required

from opflops import Profile
from opflops.cli import main

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]


def header_of(report):
    """Return the lines above the first empty one, which are as wide as the terminal, as one."""
    return " ".join(report.partition("\n\n")[0].split())


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command line; returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    # Headers of any of these targets have one line.
    monkeypatch.setenv("COLUMNS", "1000")
    return lambda *argv: (main(argv), *capsys.readouterr())


@pytest.fixture
def counted(run):
    """Run the command line for JSON; returns the profile."""

    def count(*argv):
        code, out, err = run(*argv, "--format", "json")
        assert code == 0, err
        return Profile.from_json(out)

    return count


CLASSIFICATION = [
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3"),
    *("maxvit_t", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "regnet_y_400mf", "resnet50", "resnext50_32x4d"),
    *("shufflenet_v2_x1_0", "squeezenet1_0", "swin_t", "swin_v2_t", "vgg11", "vit_b_16", "wide_resnet50_2"),
]
OTHER_FAMILIES = ["quantized_resnet18", "quantized_mobilenet_v3_large", "r3d_18", "mvit_v1_b", "s3d", "swin3d_t"]


@pytest.mark.parametrize("name", [*CLASSIFICATION, *OTHER_FAMILIES, "raft_small", "lraspp_mobilenet_v3_large"])
def test_models_of_torchvision_have_their_published_macs(counted, name):
    """With the inputs that are proposed: images, clips or pairs of images; published in thousands of millions."""
    models = required.models("torchvision.models")
    published = models.get_model_weights(name).DEFAULT.meta["_ops"]
    assert counted(f"torchvision:{name}").total.macs / 1e9 == pytest.approx(published, abs=0.0006, rel=1e-3)


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_segmentation_of_torchvision_was_published_with_its_auxiliary_head(counted, name):
    """Which a model without weights has if it is asked for."""
    models = required.models("torchvision.models")
    published = models.get_model_weights(name).DEFAULT.meta["_ops"]
    macs = counted(f"torchvision:{name}", "--arg", "aux_loss=True").total.macs
    assert macs / 1e9 == pytest.approx(published, abs=0.0006)
    assert counted(f"torchvision:{name}").total.macs < macs


def test_detection_of_torchvision_runs_on_real_images(run):
    """Which boxes are kept is a matter of values; the published macs of RetinaNet do not depend on it."""
    models = required.models("torchvision.models")
    code, out, err = run("torchvision:retinanet_resnet50_fpn", "--format", "json")
    assert (code, err) == (0, "opflops: the model needs the values of tensors, so it runs on zeros.\n")
    published = models.get_model_weights("retinanet_resnet50_fpn").DEFAULT.meta["_ops"]
    assert Profile.from_json(out).total.macs / 1e9 == pytest.approx(published, abs=0.0006)


def test_boxes_of_faster_rcnn_come_on_top_of_its_published_macs(run):
    """It was published for no box; without weights it proposes all that it may, 150, each for its head by hand."""
    models = required.models("torchvision.models")
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    code, out, _ = run(f"torchvision:{name}", "--format", "json")
    assert code == 0
    head = 256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * 91 * (1 + 4)
    published = models.get_model_weights(name).DEFAULT.meta["_ops"]
    assert Profile.from_json(out).total.macs / 1e9 == pytest.approx(published + 150 * head / 1e9, abs=0.0006)


def test_detection_learns_from_boxes(counted):
    """In training mode a detection model takes targets too."""
    required.models("torchvision.models")
    profile = counted("torchvision:ssdlite320_mobilenet_v3_large", "--backward", "--batch", "2")
    assert profile.by("phase")["backward"].macs > profile.by("phase")["forward"].macs


@pytest.mark.parametrize(
    ("name", "gmacs"),
    [
        *(("vit_base_patch16_224", 17.56), ("resnet50", 4.09)),
        *(("swin_tiny_patch4_window7_224", 4.49), ("deit_tiny_patch16_224", 1.26)),
    ],
)
def test_models_of_timm(run, counted, name, gmacs):
    """With the size of their configuration; figures from the papers and torchvision."""
    required.models("timm")
    assert counted(f"timm:{name}").total.macs / 1e9 == pytest.approx(gmacs, abs=0.02)
    header = header_of(run(f"timm:{name}", "--depth", "0")[1])
    size = "1x3x224x224".replace("x", "\N{MULTIPLICATION SIGN}")
    assert header == f"timm:{name} · eval · meta · inputs x={size} float32 (from the model's configuration)"


def test_arguments_of_timm(counted):
    """An image of twice the side has four times the patches; ten classes instead of a thousand."""
    required.models("timm")
    small = counted("timm:resnet18").total.macs
    few = counted("timm:resnet18", "--arg", "num_classes=10").total.macs
    assert small - few == 990 * 512
    usual, larger = (
        counted("timm:vit_tiny_patch16_224", *options).by("op")["aten.convolution"].macs
        for options in ((), ("--arg", "img_size=448"))
    )
    assert larger == 4 * usual


CONFIGURATIONS = {
    "llama": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
    },
    "mixtral": {
        "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
        "num_local_experts": 8, "num_experts_per_tok": 2,
    },
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
    "bert": {"model_type": "bert", "architectures": ["BertModel"]},
    "t5": {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 64, "d_kv": 16, "d_ff": 96,
        "num_layers": 2, "num_heads": 4, "vocab_size": 100,
    },
    "whisper": {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]},
    "vit": {"model_type": "vit", "architectures": ["ViTForImageClassification"]},
    "clip": {"model_type": "clip", "architectures": ["CLIPModel"]},
    "wav2vec2": {"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"], "num_hidden_layers": 2},
    "mamba": {
        "model_type": "mamba", "architectures": ["MambaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2,
        "vocab_size": 100,
    },
    "none": {"model_type": "bert", "num_hidden_layers": 1},
}  # fmt: skip


@pytest.fixture
def configuration(tmp_path):
    """Write a configuration; returns the target that names it."""
    required.models("transformers")

    def write(name, folder=None):
        place = tmp_path / (folder or name)
        place.mkdir()
        (place / "config.json").write_text(json.dumps(CONFIGURATIONS[name]), encoding="utf-8")
        return f"hf:{place / 'config.json'}"

    return write


T = 128
# Products of each layer by hand: projections, attention over all pairs, and the rest; then the head.
BY_HAND = {
    "llama": 3 * (T * 64 * (64 + 32 + 32 + 64) + 2 * T * T * 64 + 3 * T * 64 * 96) + T * 64 * 100,
    # Two experts for each token, and the router.
    "mixtral": 2 * (T * 64 * (64 + 32 + 32 + 64) + 2 * T * T * 64 + 2 * 3 * T * 64 * 96 + T * 64 * 8) + T * 64 * 100,
    "gpt2": 12 * (T * 768 * 768 * 12 + 2 * T * T * 768) + T * 768 * 50257,
    # With the pooler, which sees one token.
    "bert": 12 * (T * 768 * 768 * 12 + 2 * T * T * 768) + 768 * 768,
    # 196 patches and a class token of ViT-Base, and its head for two classes.
    "vit": 196 * 768 * 768 + 12 * (197 * 768 * 768 * 12 + 2 * 197 * 197 * 768) + 768 * 2,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_transformers_cost_what_their_configuration_says(counted, configuration, name):
    """Of 128 tokens, or of an image, by hand."""
    assert counted(configuration(name)).total.macs == BY_HAND[name]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_inputs_are_proposed_for_every_kind_of_model(run, configuration, name):
    """Ids, ids for a decoder, images, spectrograms, sound, or a text and an image; shown above the report."""
    code, out, err = run(configuration(name), "--depth", "0")
    assert (code, err) == (0, "")
    inputs = header_of(out).partition("inputs ")[2].replace("\N{MULTIPLICATION SIGN}", "x")
    ids = "input_ids=1x128 int64"
    expected = {
        "t5": f"{ids}, decoder_input_ids=1x128 int64",
        "whisper": "input_features=1x80x3000 float32, decoder_input_ids=1x128 int64",
        "vit": "pixel_values=1x3x224x224 float32",
        "clip": "input_ids=1x77 int64, pixel_values=1x3x224x224 float32",
        "wav2vec2": "input_values=1x16000 float32",
    }
    assert inputs == f"{expected.get(name, ids)} (from its configuration)"


_TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4, "head_dim": 16,
    "num_key_value_heads": 2, "vocab_size": 300,
}  # fmt: skip
_VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56,
    "patch_size": 14,
}  # fmt: skip
MULTIMODAL = {
    # 4 x 4 patches, each a token.
    "llava": (
        {
            "vision_config": {"model_type": "clip_vision_model", **_VISION},
            "text_config": {"model_type": "llama", **_TEXT},
        },
        {"image_token_index": 290}, "LlavaForConditionalGeneration", "image 1,3,56,56: 16 placeholder tokens",
    ),
    # Groups of 2 x 2 patches are one token.
    "idefics3": (
        {"vision_config": _VISION, "text_config": {"model_type": "llama", **_TEXT}},
        {"image_token_id": 290, "scale_factor": 2}, "Idefics3ForConditionalGeneration",
        "image 1,1,3,56,56: 4 placeholder tokens",
    ),
    # An image of 32 x 32 patches; groups of 2 x 2 are one token.
    "qwen2_vl": (
        {
            "vision_config": {"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "patch_size": 14},
            "text_config": {**_TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}},
        },
        {"image_token_id": 290, "video_token_id": 291}, "Qwen2VLForConditionalGeneration",
        "image 1024,1176: 256 placeholder tokens",
    ),
    # The encoder halves the 3,000 frames, and pairs of what is left are one token.
    "qwen2_audio": (
        {
            "audio_config": {
                "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
            },
            "text_config": {"model_type": "qwen2", **_TEXT},
        },
        {"audio_token_index": 290}, "Qwen2AudioForConditionalGeneration",
        "audio 1,128,3000: 750 placeholder tokens",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MULTIMODAL)
def test_images_and_sounds_are_in_the_text_of_models_that_take_them(run, tmp_path, name):
    """With a placeholder token for each embedding, by hand, so that towers run; the header says how many."""
    required.models("transformers")
    parts, fields, architecture, sentence = MULTIMODAL[name]
    whole = {"model_type": name, "architectures": [architecture], **parts, **fields}
    (tmp_path / "config.json").write_text(json.dumps(whole), encoding="utf-8")
    code, out, err = run(f"hf:{tmp_path}", "--format", "json")
    assert (code, err) == (0, "")
    towers = ("vision_tower", "vision_model", "visual", "audio_tower")
    below = {path.split(".")[2] for path in Profile.from_json(out).inclusive() if path.count(".") > 1}
    assert below & set(towers)
    assert sentence in header_of(run(f"hf:{tmp_path}", "--depth", "0")[1])


@pytest.mark.parametrize(
    ("whole", "inputs"),
    [
        # A tower that takes images or their patches.
        ({"model_type": "dinov3_vit", "num_hidden_layers": 1}, "pixel_values=1x3x224x224 float32"),
        # One layer of 160 values for each frame, though positions have a limit as Whisper's have.
        ({"model_type": "wav2vec2-bert", "num_hidden_layers": 1}, "input_features=1x1000x160 float32"),
        # Sound has channels, and a series has as many steps as the model looks back.
        ({"model_type": "dac"}, "input_values=1x1x16000 float32"),
        ({"model_type": "patchtst", "num_hidden_layers": 1}, "past_values=1x32x1 float32"),
        # Encoders and decoders without layers before their first block take vectors.
        (
            {"model_type": "speecht5", "encoder_layers": 1, "decoder_layers": 1},
            "input_values=1x128x768 float32, decoder_input_values=1x128x768 float32",
        ),
        # A decoder alone has cross attention, and a row of ids for each of four codebooks.
        (
            {"model_type": "musicgen_decoder", "num_hidden_layers": 1},
            "input_ids=4x128 int64, encoder_hidden_states=1x128x1024 float32",
        ),
        # Boxes beside the text, and what a robot saw and did.
        (
            {"model_type": "bros", "num_hidden_layers": 1},
            "input_ids=1x128 int64, bbox=1x128x4 int64",
        ),
        (
            {"model_type": "decision_transformer", "n_layer": 1, "state_dim": 5, "act_dim": 3},
            (
                "states=1x128x5 float32, actions=1x128x3 float32, rewards=1x128x1 float32, "
                "returns_to_go=1x128x1 float32, timesteps=1x128 int64"
            ),
        ),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_inputs_have_the_axes_that_code_and_documentation_name(run, tmp_path, whole, inputs):
    """With sizes from the configuration, for configurations without architectures."""
    required.models("transformers")
    (tmp_path / "config.json").write_text(json.dumps(whole), encoding="utf-8")
    code, out, err = run(f"hf:{tmp_path}", "--depth", "0")
    assert code == 0, err
    header = header_of(out).partition("inputs ")[2].replace("\N{MULTIPLICATION SIGN}", "x")
    assert header == f"{inputs} (from its configuration)"


def test_fields_of_a_configuration_are_arguments(counted, run, configuration):
    """One layer less is a third less of them; what is no field is a mistake, with the nearest names."""
    target = configuration("llama")
    less = counted(target).total.macs - counted(target, "--arg", "num_hidden_layers=2").total.macs
    assert 3 * less == BY_HAND["llama"] - T * 64 * 100
    code, _, err = run(target, "--arg", "num_hidden_layer=2")
    assert code == 2
    assert "has no field 'num_hidden_layer'; did you mean num_hidden_layers" in err


def test_no_part_of_a_configuration_fetches_weights():
    """Nor that of a backbone inside it, which transformers 4 fetches by default."""
    transformers = required.models("transformers")
    huggingface = importlib.import_module("opflops.cli.sources.huggingface")
    whole, part = transformers.DetrConfig(), transformers.TimmBackboneConfig()
    whole.backbone_config = part
    whole.use_pretrained_backbone = part.use_pretrained_backbone = True
    huggingface._disable_pretrained_backbones(whole)
    assert (whole.use_pretrained_backbone, part.use_pretrained_backbone) == (False, False)


def test_a_folder_is_as_good_as_its_file(counted, configuration, tmp_path):
    """The same model either way."""
    configuration("bert", "folder")
    assert counted(f"hf:{tmp_path / 'folder'}").total.macs == BY_HAND["bert"]


def test_inputs_that_are_given_replace_the_proposed_ones(counted, configuration):
    """By name or in order; those that are not given stay."""
    target = configuration("t5")
    half = counted(target, "--input", "decoder_input_ids=1,64:int64").total.macs
    assert half < counted(target).total.macs
    assert counted(target, "--input", "1,128:int64").total.macs == counted(target).total.macs
    assert counted(target, "--batch", "2").total.macs == 2 * counted(target).total.macs


def test_seventy_billion_parameters_take_no_memory(counted, tmp_path):
    """The published shape of Llama 2 70B: 80 layers with 8 of 64 heads for keys and values, by hand."""
    required.models("transformers")
    shape = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8192, "vocab_size": 32000,
        "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "max_position_embeddings": 4096,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    layer = T * 8192 * (2 * 8192 + 2 * 1024) + 2 * T * T * 8192 + 3 * T * 8192 * 28672
    assert counted(f"hf:{tmp_path}").total.macs == 80 * layer + T * 8192 * 32000


def test_all_sizes_of_a_language_model(counted, configuration):
    """The batch and the sequence by the names of its inputs; at 1 and 128 it is what is counted there."""
    target = configuration("llama")
    profile = counted(target, "--dim", "batch=input_ids:0", "--dim", "seq=0:1")
    assert profile.at(batch=1, seq=T).total.macs == BY_HAND["llama"]


@pytest.mark.parametrize(
    ("library", "argv", "words"),
    [
        ("torchvision", ["torchvision:resnet5"], "no torchvision model 'resnet5'; did you mean resnet50"),
        ("timm", ["timm:resnet5"], "no timm model 'resnet5'; did you mean resnet50"),
        ("transformers", ["hf:./nowhere"], "There is no file or folder './nowhere'"),
        ("transformers", ["hf:empty"], "The folder 'empty' has no config.json"),
        ("transformers", ["hf:bad.json"], "transformers does not know the configuration bad.json"),
        ("transformers", ["hf:strange.json"], "no model of transformers 'BertModle'; did you mean BertModel"),
        ("transformers", ["hf:code.json"], "needs code of its own. If you trust it, give --trust-remote-code"),
        ("transformers", ["hf:nobody/nothing"], "cannot be downloaded (HF_HUB_OFFLINE is set)"),
        ("torchvision", ["models", "torchvision", "zzz*"], "There is no model of torchvision 'zzz*'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_sentence(run, monkeypatch, tmp_path, library, argv, words):
    """Exit code 2, nothing on stdout, the nearest names."""
    required.models(library)
    if library == "transformers":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    strange = {"model_type": "bert", "architectures": ["BertModle"]}
    (tmp_path / "strange.json").write_text(json.dumps(strange), encoding="utf-8")
    code = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Model"}}
    (tmp_path / "code.json").write_text(json.dumps(code), encoding="utf-8")
    ended, out, err = run(*argv)
    assert (ended, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_code_of_a_configuration_runs_only_if_it_is_trusted(run, counted, tmp_path, monkeypatch):
    """A folder with a model of its own: 1 x 5 by 5 x 7."""
    required.models("transformers")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.py").write_text(
        "from torch import nn\n"
        "from transformers import PretrainedConfig, PreTrainedModel\n"
        "print('code of the configuration')\n"
        "class OwnConfig(PretrainedConfig):\n"
        "    model_type = 'own'\n"
        "class OwnModel(PreTrainedModel):\n"
        "    config_class = OwnConfig\n"
        "    def __init__(self, config):\n"
        "        super().__init__(config)\n"
        "        self.fc = nn.Linear(5, 7)\n"
        "        self.post_init()\n"
        "    def forward(self, x):\n"
        "        return self.fc(x)\n",
        encoding="utf-8",
    )
    code = {
        "model_type": "own",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(code), encoding="utf-8")
    ended, out, err = run(f"hf:{folder}", "--input", "1,5")
    assert (ended, out) == (2, "")
    assert "give --trust-remote-code" in err
    assert "code of the configuration" not in err
    assert counted(f"hf:{folder}", "--input", "1,5", "--trust-remote-code").total.macs == 35


def test_a_name_of_the_hub_is_found_in_the_cache(tmp_path):
    """Without a network: counted by its name, and listed. What is not there is not asked for either."""
    required.models("transformers")
    repository = tmp_path / "hub" / "models--somebody--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIGURATIONS["llama"]), encoding="utf-8")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40, encoding="utf-8")

    def process(*argv):
        environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "opflops", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    found = process("hf:somebody/tiny", "--format", "json")
    assert (found.returncode, found.stderr) == (0, "")
    assert Profile.from_json(found.stdout).total.macs == BY_HAND["llama"]
    assert process("models", "hf").stdout == "somebody/tiny\n"
    assert process("hf:somebody/else").returncode == 2


@pytest.mark.parametrize(
    ("source", "pattern", "name"),
    [("torchvision", "resnet*", "resnet50"), ("timm", "vit_base_patch16_*", "vit_base_patch16_224")],
)
def test_models_are_listed(run, source, pattern, name):
    """Those that fit the pattern, one on a line."""
    required.models(source)
    code, out, err = run("models", source, pattern)
    assert (code, err) == (0, "")
    assert name in out.splitlines()
    assert all(line.startswith(pattern.rstrip("*")) for line in out.splitlines())


def test_models_of_two_libraries_are_compared(run):
    """The ResNet-18 of torchvision and of timm have the same macs."""
    required.models("torchvision")
    required.models("timm")
    code, out, err = run("torchvision:resnet18", "timm:resnet18", "--by", "dtype", "--measure", "macs")
    assert (code, err) == (0, "")
    line = next(line for line in out.splitlines() if line.startswith("float32"))
    _, first, second, *_ = line.split()
    assert first == second == "1,814,073,344"
