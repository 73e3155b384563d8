"""``--generate N``: a prompt and N tokens from the KV cache, as ``generate()`` of transformers runs them.

They are skipped where transformers is missing, unless the environment variable ``OPFLOPS_REQUIRE`` names ``models``.
"""

import pytest
import required
import torch

from opflops import OpFlopMode, Profile
from opflops.cli import main

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

PROMPT = 8
LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 50, "hidden_size": 16,
    "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
}  # fmt: skip
CONFIGURATIONS = {
    "llama": LLAMA,
    "gpt2": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50, "n_embd": 16, "n_layer": 2,
        "n_head": 2, "n_positions": 64,
    },
    # Costs grow until the window of 12 tokens is full, in the midst of the tokens that are made.
    "mistral": {
        **LLAMA, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 12,
        "num_key_value_heads": 1, "head_dim": 8,
    },
    "mamba": {
        "model_type": "mamba", "architectures": ["MambaForCausalLM"], "vocab_size": 50, "hidden_size": 16,
        "num_hidden_layers": 2, "state_size": 4,
    },
}  # fmt: skip
BERT = {
    "model_type": "bert", "architectures": ["BertModel"], "vocab_size": 50, "hidden_size": 16,
    "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip
T5 = {
    "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": 50, "d_model": 16, "d_kv": 8,
    "d_ff": 32, "num_layers": 1, "num_heads": 2,
}  # fmt: skip


@pytest.fixture
def run(run_configuration, monkeypatch):
    """Run the command line on a configuration, 100 columns wide."""
    monkeypatch.setenv("COLUMNS", "100")
    return run_configuration


def counted(run, configuration, tokens, *options):
    code, out, err = run(
        configuration, "--input", f"input_ids=1,{PROMPT}:int64", "--generate", str(tokens), "--format", "json", *options
    )
    assert code == 0, err
    return Profile.from_json(out)


def run_for_real(configuration, tokens):
    """Call ``generate()`` on the CPU, greedily, and count what runs."""
    transformers = required.models("transformers")
    config = transformers.AutoConfig.for_model(**configuration)
    torch.manual_seed(0)
    model = getattr(transformers, configuration["architectures"][0])(config).eval()
    ids = torch.zeros(1, PROMPT, dtype=torch.int64)
    with OpFlopMode() as mode:
        made = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
        )
    assert made.shape == (1, PROMPT + tokens)
    return mode.profile


def of_model(profile):
    """Return the calls and the costs of what the model ran, by module, operator and dtype.

    Outside it, ``generate`` also looks for a last token, unless there is none.
    """
    found = {}
    for row in profile.rows:
        if row.module:
            key = row.module, row.op, row.dtype
            calls, cost = found.get(key, (0, 0 * row.cost))
            found[key] = calls + row.calls, cost + row.cost
    return found


@pytest.mark.parametrize("tokens", [1, 2, 3, 20])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_prompt_and_tokens_cost_what_generate_runs(run, name, tokens):
    """Each operator of each module, although few cache lengths are counted, and none is run."""
    assert of_model(counted(run, CONFIGURATIONS[name], tokens)) == of_model(run_for_real(CONFIGURATIONS[name], tokens))


def test_attention_grows_with_the_cache(run):
    """By hand: each token takes linear layers, each pair of tokens attention, and each new token the head."""
    phases = counted(run, LLAMA, 5).by("phase")
    linear, pair, head = 2 * (4 * 16 * 16 + 3 * 16 * 32), 2 * 2 * 16, 16 * 50
    assert list(phases) == ["prefill", "decode"]
    assert phases["prefill"].macs == PROMPT * linear + PROMPT**2 * pair + head
    assert phases["decode"].macs == sum(linear + (past + 1) * pair + head for past in range(PROMPT, PROMPT + 4))


def test_the_report_says_what_the_first_and_the_last_token_take(run):
    """In a sentence, below a table with both phases; by hand, 5,120 + 64 (p + 1) + 800 macs for a cache of p tokens."""
    code, out, _ = run(LLAMA, "--input", f"1,{PROMPT}:int64", "--generate", "100")
    assert code == 0
    text = " ".join(out.split())
    assert "· generate 100 tokens ·" in text
    assert (
        "The prefill reads 8 tokens and makes the first new one; decoding makes the other 99 from the KV cache, with "
        f"{5120 + 64 * 9 + 800:,} macs for the second token and {5120 + 64 * 107 + 800:,} for the last."
    ) in text
    for phase in ("prefill", "decode", "total"):
        assert any(line.startswith(f"{phase} ") for line in out.splitlines())


@pytest.mark.parametrize(("tokens", "end"), [(1, "new one."), (2, "the second from the KV cache, with 6,496 macs.")])
def test_few_tokens_are_said_as_they_are(run, tokens, end):
    """One comes from the prefill alone, and a second one is both the first and the last of decoding."""
    assert counted(run, LLAMA, tokens).remarks[-1].endswith(end)


def test_a_real_run_has_the_same_counts(run):
    """On the CPU, with weights."""
    assert of_model(counted(run, LLAMA, 6, "--device", "cpu")) == of_model(counted(run, LLAMA, 6))


def test_phases_of_generation_are_selected_and_shown(run):
    """By name, as columns, and with the others in the utilization of a device."""
    profile = counted(run, LLAMA, 3)
    assert profile.where(phase="decode").total == profile.by("phase")["decode"]
    assert run(LLAMA, "--input", f"1,{PROMPT}:int64", "--generate", "3", "--columns", "phases", "--depth", "0")[0] == 0
    assert profile.mfu(1.0, "h100-sxm").parts


@pytest.mark.parametrize(
    ("configuration", "options", "words"),
    [
        (
            BERT,
            (),
            "BertModel cannot generate tokens. Make one of its configuration with --arg \"architectures=['BertLM",
        ),
        (T5, (), "T5ForConditionalGeneration has an encoder for its input"),
        (LLAMA, ("--backward",), "--generate counts inference, so it cannot be used with --backward"),
        (LLAMA, ("--dim", "b=0:0"), "which are no formula, so it cannot be used with --dim"),
        (LLAMA, ("--memory",), "--generate follows no memory"),
        (LLAMA, ("--timing",), "--generate times nothing"),
        (LLAMA, ("--input", "8:int64"), "--generate needs a prompt: LlamaForCausalLM must get token ids"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_generated_is_a_sentence(run, configuration, options, words):
    """With what would be right."""
    code, out, err = run(configuration, "--generate", "3", *options)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err


def test_a_model_of_ones_own_does_not_generate(run, tmp_path, capsys):
    """The error names a target that does."""
    run(LLAMA)
    (tmp_path / "net.py").write_text("from torch import nn\nclass Net(nn.Linear): pass\n", encoding="utf-8")
    assert (
        main(["net.py:Net", "--arg", "in_features=4", "--arg", "out_features=4", "--input", "1,4", "--generate", "2"])
        == 2
    )
    assert (
        "of a causal language model of transformers, and Net is none. Name one, as in hf:gpt2."
        in capsys.readouterr().err
    )
