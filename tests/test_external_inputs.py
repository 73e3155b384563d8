"""Inputs of transformers models on the command line: their names, their lengths and the placeholder tokens in them.

They are skipped where transformers is missing, unless the environment variable ``OPFLOPS_REQUIRE`` names ``models``.
"""

import pytest

from opflops import Profile

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

GPT2 = {
    "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 100, "n_embd": 32, "n_layer": 1,
    "n_head": 2, "n_positions": 64,
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 120, "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip
TOWER = {
    "image_size": 28, "patch_size": 14, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
    "num_hidden_layers": 2,
}  # fmt: skip
LLAVA = {
    "model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "image_token_index": 110,
    "text_config": LLAMA, "vision_config": {**TOWER, "model_type": "clip_vision_model"},
}  # fmt: skip
BLIP2 = {
    "model_type": "blip-2", "architectures": ["Blip2ForConditionalGeneration"], "num_query_tokens": 4,
    "image_token_index": 110,
    "text_config": {
        "model_type": "opt", "vocab_size": 120, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 1,
        "num_attention_heads": 4, "word_embed_proj_dim": 32, "max_position_embeddings": 48,
    },
    "vision_config": {**TOWER, "model_type": "blip_2_vision_model"},
    "qformer_config": {
        "model_type": "blip_2_qformer", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 4, "encoder_hidden_size": 32,
    },
}  # fmt: skip


@pytest.fixture
def run(run_configuration, monkeypatch):
    """Run the command line on a configuration, 200 columns wide."""
    monkeypatch.setenv("COLUMNS", "200")
    return run_configuration


@pytest.mark.parametrize("configuration", [GPT2, LLAMA, LLAVA], ids=lambda each: each["model_type"])
def test_a_misspelt_name_is_an_error(run, configuration):
    """It would go into ``**kwargs`` without effect."""
    code, out, err = run(configuration, "--input", "input_id=2,7:int64")
    assert (code, out) == (2, "")
    assert f"{configuration['architectures'][0]}.forward has no parameter 'input_id'; did you mean input_ids" in err


@pytest.mark.parametrize("name", ["position_ids", "cu_seq_lens_q"])
def test_names_that_the_forward_passes_on_are_inputs(run, name):
    """LLaVA's passes ``**kwargs`` to its text model, whose forward or whose attention takes them."""
    code, _, err = run(LLAVA, "--input", "input_ids=1,32:int64", "--input", f"{name}=1,32:int64")
    assert "has no parameter" not in err
    assert code == 0 or name != "position_ids"


def macs_of(run, configuration, *argv):
    code, out, err = run(configuration, *argv, "--format", "json")
    assert code == 0, err
    return Profile.from_json(out)


@pytest.mark.parametrize("batch", [1, 2])
def test_given_ids_get_the_placeholder_tokens_of_images(run, batch):
    """The text model works on the tokens that are given: queries of 32 by 32 weights for each."""
    profile = macs_of(run, LLAVA, "--input", f"{batch},40:int64")
    queries = {path: cost.macs for path, cost in profile.by("module").items() if path.endswith("0.self_attn.q_proj")}
    (text,) = (macs for path, macs in queries.items() if ".language_model." in path)
    assert text == batch * 40 * 32 * 32
    # An image of 2 by 2 patches for each text, whose tower has a token for its class too.
    (tower,) = (macs for path, macs in queries.items() if ".vision_tower." in path)
    assert tower == batch * 5 * 32 * 32


def test_ids_without_room_for_an_image_are_an_error(run):
    """The image has 2 by 2 patches; four tokens are enough."""
    code, _, err = run(LLAVA, "--input", "1,3:int64")
    assert code == 2
    assert "input_ids has 3 tokens, fewer than the 4 placeholder tokens" in err
    assert run(LLAVA, "--input", "1,4:int64")[0] == 0


@pytest.mark.parametrize(("configuration", "positions"), [(LLAVA, 64), (BLIP2, 48)], ids=["llava", "blip2"])
def test_placeholder_tokens_are_within_the_positions(run, configuration, positions):
    """The text is as much shorter."""
    code, out, err = run(configuration)
    assert code == 0, err
    assert f"input_ids=1\N{MULTIPLICATION SIGN}{positions} int64" in out


def test_the_prompt_leaves_positions_for_the_tokens_to_make(run):
    """Of 64 positions, 6 are theirs."""
    code, out, err = run(GPT2, "--generate", "6")
    assert code == 0, err
    assert "input_ids=1\N{MULTIPLICATION SIGN}58 int64" in out


def test_a_prompt_that_leaves_no_positions_is_an_error(run):
    """The last token that is made is not read, so that a prompt of 59 and 6 tokens fill 64 positions."""
    assert run(GPT2, "--generate", "6", "--input", "1,59:int64")[0] == 0
    code, _, err = run(GPT2, "--generate", "6", "--input", "1,60:int64")
    assert code == 2
    assert "has 64 positions, and a prompt of 60 tokens with --generate 6 takes 65" in err
    assert "give a shorter one, as in --input input_ids=1,59:int64, or a smaller --generate." in err
    assert (
        "takes 69, since the last token made is not read: give a smaller --generate."
        in run(GPT2, "--generate", "69")[2]
    )
    # Rotary positions have no end.
    assert run(LLAMA, "--generate", "6", "--input", "1,60:int64")[0] == 0


@pytest.mark.parametrize(("configuration", "limit"), [(GPT2, 64), (BLIP2["text_config"], 48)], ids=["gpt2", "opt"])
def test_ids_beyond_the_positions_are_shortened_to_them(run, configuration, limit):
    """OPT's table has two positions more than texts may have."""
    code, _, err = run(configuration, "--input", "2,100:int64")
    assert code == 2
    assert f"It runs with --input 2,{limit}:int64 (at most {limit})." in err
    assert run(configuration, "--input", f"2,{limit}:int64")[0] == 0
    assert run(configuration, "--input", f"2,{limit + 1}:int64")[0] == 2
