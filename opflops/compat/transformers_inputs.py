"""Models of transformers without weights, and inputs for them, as calflops makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from opflops.compat.peer_errors import PeerArgumentError
from opflops.extras import optional

if TYPE_CHECKING:
    from torch import nn

DEFAULT_SHAPE = (1, 128)
"""The batch and the length of the sequences, where none are given."""


def generate_transformer_input(
    model_tokenizer: Any, input_shape: tuple[int, ...] | None, device: torch.device | str
) -> dict[str, torch.Tensor]:
    """Make the inputs of a model of transformers: what a tokenizer makes of an empty text, padded to a length.

    Args:
        model_tokenizer: The tokenizer.
        input_shape: The batch and the length of the sequences; None for (1, 128).
        device: Where the tensors are made.

    Returns:
        Of ``input_ids``, ``attention_mask``, ``token_type_ids`` and ``position_ids`` those that the tokenizer makes.

    Raises:
        PeerArgumentError: The tokens that surround an empty text are more than the length.
    """
    batch, length = DEFAULT_SHAPE if input_shape is None else input_shape
    # Tokenizers of transformers 5 are functions only.
    encode = getattr(model_tokenizer, "encode_plus", None) or model_tokenizer
    encoded = encode("", add_special_tokens=True)
    tokens = [*encoded["input_ids"]]
    padding = length - len(tokens)
    if padding < 0:
        raise PeerArgumentError(
            f"The tokenizer surrounds a text with {len(tokens)} tokens, which is more than the length {length} of "
            "input_shape. Give a larger one."
        )
    padded = {
        "input_ids": [*tokens, *[getattr(model_tokenizer, "pad_token_id", None) or 0] * padding],
        "attention_mask": [1] * len(tokens) + [0] * padding,
        "token_type_ids": [*encoded.get("token_type_ids", ()), *[0] * padding],
        "position_ids": [*encoded.get("position_ids", ()), *range(len(tokens), length)],
    }
    # On the CPU first, so that a meta device, too, is given whole numbers.
    return {
        name: torch.tensor([values] * batch, dtype=torch.long).to(device)
        for name, values in padded.items()
        if name in encoded
    }


def load_tokenizer(model_name: str, *, trust_remote_code: bool, access_token: str) -> Any:
    """Read the tokenizer of a model from the hub or a folder."""
    transformers = optional("transformers", "models", "calculate_flops_hf()")
    return transformers.AutoTokenizer.from_pretrained(
        _name_on_hub(model_name), trust_remote_code=trust_remote_code, token=access_token or None
    )


def create_empty_model(
    model_name: str, library_name: str | None, trust_remote_code: bool = False, access_token: str | None = None
) -> nn.Module:
    """Make a model on the meta device, where tensors have no values, from its configuration alone.

    Args:
        model_name: The name of the model on the Hugging Face Hub, the address of its page, or a folder; of timm, the
            name of the model there.
        library_name: ``"transformers"``, which is taken for None, or ``"timm"``.
        trust_remote_code: Whether to run Python code that comes with the configuration.
        access_token: The token of an account that may read the model.

    Raises:
        PeerArgumentError: The library is another one.
        MissingExtraError: The library is not installed.
    """
    name, meta = _name_on_hub(model_name), torch.device("meta")
    if library_name == "timm":
        timm = optional("timm", "models", "create_empty_model(library_name='timm')")
        with meta:
            return cast("nn.Module", timm.create_model(name, pretrained=False))
    if library_name not in (None, "transformers"):
        raise PeerArgumentError(
            f"create_empty_model() makes models of 'transformers' and 'timm', not of {library_name!r}. Make the model "
            "yourself under torch.device('meta'), and give it as empty_model."
        )
    transformers = optional("transformers", "models", "create_empty_model()")
    options = {"trust_remote_code": trust_remote_code}
    config = transformers.AutoConfig.from_pretrained(name, token=access_token or None, **options)
    # Code of the hub may say which class it is.
    remote = next((each for each in getattr(config, "auto_map", None) or () if each.startswith("AutoModelFor")), "")
    with meta:
        return cast("nn.Module", getattr(transformers, remote or "AutoModel").from_config(config, **options))


def _name_on_hub(model_name: str) -> str:
    """Return the name of a model from the address of its page, or of a page of its files."""
    _, is_address, address = model_name.partition("://huggingface.co/")
    return "/".join(address.split("/")[:2]).rstrip("/") if is_address else model_name
