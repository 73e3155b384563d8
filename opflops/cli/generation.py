"""``--generate N``: a prompt and N tokens after it, as transformers' ``generate()`` runs them with a KV cache.

The first token comes from the prefill, which reads the prompt. Each other one is a step of decoding, whose cost depends
on how many tokens are in the cache. The step that finds p of them there is the difference of two calls of ``generate``
with a prompt of p tokens: one that makes two tokens, and one that makes one. Only some lengths are counted where costs
between them grow evenly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from opflops.cli.sources.huggingface_fields import Fields
from opflops.errors import TargetError
from opflops.profile.profile import Profile, Row
from opflops.records.cost import ZERO, Cost
from opflops.torch_internals.modules import name_of
from opflops.units import exact

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

PREFILL, DECODE = "prefill", "decode"
_SETTINGS = {"do_sample": False, "num_beams": 1, "use_cache": True, "eos_token_id": None}
"""How tokens are chosen: greedily, and never the last one, so that no count depends on the weights."""

_WITH_LENGTH = 2

_Amounts = dict[Row, tuple[int, ...]]
"""Calls, activations and costs of rows, by the rows without these."""


def check_options(arguments: argparse.Namespace) -> None:
    """Check, before anything is counted, that ``--generate`` is used with nothing that it has no answer for.

    Raises:
        TargetError: It is.
    """
    if arguments.generate is None:
        return
    reasons = {
        "counts inference": ("backward", "optimizer", "train"),
        "counts calls of several lengths, which are no formula": ("dim", "largest"),
        "follows no memory": ("memory", "fits"),
        "times nothing": ("timing",),
    }
    for reason, names in reasons.items():
        for name in names:
            if getattr(arguments, name, None):
                raise TargetError(f"--generate {reason}, so it cannot be used with --{name}.")


def check_generates(model: Any, arguments: Mapping[str, Any]) -> None:
    """Check that a model is a causal language model of transformers, with a prompt.

    Raises:
        TargetError: It is not; the message says which models are.
    """
    name = name_of(model)
    if not hasattr(getattr(model, "config", None), "model_type"):
        raise TargetError(
            f"--generate calls generate() of a causal language model of transformers, and {name} is none. Name one, as "
            "in hf:gpt2."
        )
    if not hasattr(model, "generate") or not model.can_generate():
        hint = _class_that_generates(model)
        raise TargetError(f"--generate needs a causal language model, and {name} cannot generate tokens. {hint}")
    if getattr(model.config, "is_encoder_decoder", False):
        raise TargetError(
            f"--generate works for models that continue their input, as hf:gpt2 does. {name} has an encoder for its "
            "input. Leave --generate out to count one call of both."
        )
    ids = arguments.get("input_ids")
    if not isinstance(ids, torch.Tensor) or ids.dim() != _WITH_LENGTH or 0 in ids.shape:
        raise TargetError(f"--generate needs a prompt: {name} must get token ids, as in --input input_ids=1,128:int64.")


def explain_positions(model: Any, ids: torch.Tensor, tokens: int) -> str:
    """Say how long a prompt may be if it and the new tokens take more positions than a model has; "" if they do not.

    The last new token is not read, so that it takes none.
    """
    positions, (batch, prompt) = Fields(model).positions, ids.shape
    if positions is None or prompt + tokens - 1 <= positions:
        return ""
    longest = positions - tokens + 1
    right = f"give a shorter one, as in --input input_ids={batch},{longest}:int64, or" if longest > 0 else "give"
    return (
        f"{name_of(model)} has {_counted(positions, 'position')}, and a prompt of {_counted(prompt, 'token')} with "
        f"--generate {tokens} takes {exact(prompt + tokens - 1)}, since the last token made is not read: {right} a "
        "smaller --generate."
    )


def _class_that_generates(model: Any) -> str:
    """Name the causal language model of the same type, and the option that makes it."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # noqa: PLC0415 - as it has one

    found = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model.config.model_type)
    if found is None or found == type(model).__name__:
        return "Name one, as in hf:gpt2."
    return f"""Make one of its configuration with --arg "architectures=['{found}']"."""


class Generation:
    """Count a prompt and the tokens after it.

    Args:
        model: The model.
        arguments: The arguments of a call by name, with the prompt as ``input_ids``.
        tokens: How many tokens to make.
        run: Counts a function with keyword arguments.
    """

    def __init__(
        self,
        model: Any,
        arguments: Mapping[str, Any],
        tokens: int,
        run: Callable[[Callable[..., Any], dict[str, Any]], Profile],
    ) -> None:
        self._model, self._arguments, self._tokens, self._run = model, dict(arguments), tokens, run
        self._prompt: int = arguments["input_ids"].shape[1]
        self._steps: dict[int, _Amounts] = {}
        self._called: dict[str, None] = {}
        self._remarks: dict[str, None] = {}

    def count(self) -> Profile:
        """Count the prefill and the steps of decoding, each in a phase of its own; a remark says what they are."""
        prefill = self._generate(self._prompt, 1)
        rows = _in_phase(_amounts(prefill), PREFILL)
        first, last = self._prompt, self._prompt + self._tokens - 2
        if self._tokens > 1:
            rows += _in_phase(self._sum_steps(first, last), DECODE)
        remarks = (*self._remarks, self._sentence(first, last))
        return replace(prefill, rows=tuple(rows), sites=(), called=tuple(self._called), remarks=remarks)

    def _sentence(self, first: int, last: int) -> str:
        start = f"The prefill reads {_counted(self._prompt, 'token')} and makes the first new one"
        if self._tokens == 1:
            return f"{start}."
        if first == last:
            return f"{start}; decoding makes the second from the KV cache, with {_macs(self._steps[first])} macs."
        return (
            f"{start}; decoding makes the other {exact(self._tokens - 1)} from the KV cache, with "
            f"{_macs(self._steps[first])} macs for the second token and {_macs(self._steps[last])} for the last."
        )

    def _generate(self, length: int, tokens: int) -> Profile:
        """Count a call of ``generate`` with a prompt of some length."""
        arguments = {name: self._resize(name, value, length) for name, value in self._arguments.items()}
        ids = arguments["input_ids"]
        arguments.setdefault("attention_mask", torch.ones(ids.shape, dtype=torch.int64, device=ids.device))
        profile = self._run(self._model.generate, {**arguments, **_SETTINGS, "max_new_tokens": tokens})
        self._called |= dict.fromkeys(profile.called)
        self._remarks |= dict.fromkeys(profile.remarks)
        return profile

    def _resize(self, name: str, value: Any, length: int) -> Any:
        """Repeat the last column of what has one for each token of the prompt: ids, masks, token types."""
        is_along = isinstance(value, torch.Tensor) and not value.is_floating_point() and value.dim() == _WITH_LENGTH
        if not is_along or value.shape[1] != self._prompt:
            return value
        if value.is_meta:
            # Of unknown values; a prompt of zeros is as good, and a mask of zeros is none.
            filled = torch.ones if name.endswith("attention_mask") else torch.zeros
            return filled(value.shape[0], length, dtype=value.dtype, device="cpu")
        last = value[:, -1:] if name != "input_ids" else self._filler(value)
        return torch.cat([value, last.expand(-1, max(length - self._prompt, 0))], 1)

    def _filler(self, ids: torch.Tensor) -> torch.Tensor:
        """Return ids for more text, none of which stands for an image or a sound."""
        special = {value for name, value in self._model.config.to_dict().items() if name.endswith(("_id", "_index"))}
        plain = next(number for number in range(len(special) + 1) if number not in special)
        return torch.full_like(ids[:, -1:], plain)

    def _sum_steps(self, first: int, last: int) -> _Amounts:
        """Add up the steps that find from ``first`` to ``last`` tokens in the cache."""
        if last <= first + 1:
            return _add(*(self._step(length) for length in range(first, last + 1)))
        if self._is_even(first, last):
            number = last - first + 1
            both = _add(self._step(first), self._step(last))
            return {row: tuple(number * amount // 2 for amount in amounts) for row, amounts in both.items()}
        middle = (first + last) // 2
        return _add(self._sum_steps(first, middle), self._sum_steps(middle + 1, last))

    def _is_even(self, first: int, last: int) -> bool:
        """Tell whether the costs of steps grow evenly, by the second step and the one in the middle.

        Costs that grow up to a window and then no more are a concave function: if one point between lies on the
        straight line, all do.
        """
        ends = (self._step(first), last), (self._step(last), first)
        for length in dict.fromkeys((first + 1, (first + last) // 2)):
            found = self._step(length)
            line = _add(*(_times(step, abs(other - length)) for step, other in ends))
            if _without_zeros(line) != _without_zeros(_times(found, last - first)):
                return False
        return True

    def _step(self, length: int) -> _Amounts:
        """Count the step that finds some number of tokens in the cache."""
        if length not in self._steps:
            two, one = (_amounts(self._generate(length, tokens)) for tokens in (2, 1))
            self._steps[length] = _without_zeros(_add(two, _times(one, -1)))
        return self._steps[length]


def _amounts(profile: Profile) -> _Amounts:
    found: list[_Amounts] = []
    for row in profile.rows:
        key = replace(row, calls=0, cost=ZERO, activations=0, seconds=None, spread=None, site="")
        found.append({key: (row.calls, row.activations, *row.cost)})
    return _add(*found)


def _add(*parts: _Amounts) -> _Amounts:
    total: _Amounts = {}
    for part in parts:
        for row, amounts in part.items():
            known = total.get(row)
            total[row] = amounts if known is None else tuple(map(sum, zip(known, amounts, strict=True)))
    return total


def _times(amounts: _Amounts, factor: int) -> _Amounts:
    return {row: tuple(factor * amount for amount in each) for row, each in amounts.items()}


def _without_zeros(amounts: _Amounts) -> _Amounts:
    return {row: each for row, each in amounts.items() if any(each)}


def _in_phase(amounts: _Amounts, phase: str) -> list[Row]:
    return [
        replace(row, phase=phase, calls=calls, activations=activations, cost=Cost(*cost))
        for row, (calls, activations, *cost) in amounts.items()
    ]


def _macs(amounts: _Amounts) -> str:
    return exact(sum(Cost(*each[2:]).macs for row, each in amounts.items() if row.floating))


def _counted(number: int, what: str) -> str:
    return f"{exact(number)} {what}{'' if number == 1 else 's'}"
