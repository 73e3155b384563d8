"""Check that arguments are what they are called: a model, a profile, and the parts of a profile."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from opflops.errors import ProfileArgumentError
from opflops.profile.method_advice import advise
from opflops.profile.views import Views
from opflops.records.arguments import describe
from opflops.records.execution import Execution
from opflops.records.memory import Memory
from opflops.records.modules import ModuleRecord
from opflops.records.rows import Row
from opflops.records.timing import Timing

if TYPE_CHECKING:
    from opflops.profile.profile import Profile

_KINDS: dict[str, type] = {"rows": Row, "sites": Row, "modules": ModuleRecord}
_RECORDS: dict[str, type] = {"memory": Memory, "timing": Timing, "execution": Execution}


def how_to_get_model(given: object) -> str:
    """Say what to pass in place of something that is no model."""
    if isinstance(given, (str, os.PathLike)):
        name = repr(os.fspath(given))
        return (
            f"Load the model first: model = torch.load({name}, weights_only=False) if the file has a whole model. If "
            f"it has a state dict, make the model, then call model.load_state_dict(torch.load({name}))."
        )
    if isinstance(given, Mapping):
        if any(isinstance(value, Tensor) for value in given.values()):
            return "It is a state dict, which has no layers: make the model, then call model.load_state_dict(it)."
        models = [repr(key) for key, value in given.items() if isinstance(value, nn.Module)]
        return f"Pass the model that it holds, as in it[{models[0]}]." if models else "Make the model, and pass that."
    if isinstance(given, (list, tuple)) and given and all(isinstance(each, nn.Module) for each in given):
        return "Make one model of them: torch.nn.Sequential(*modules)."
    if isinstance(given, type):
        return f"Make the model first: model = {given.__name__}(...)."
    is_method = isinstance(getattr(given, "__self__", None), nn.Module)
    return "Pass the model whose method it is." if is_method else "Make the model, and pass that."


def check_module_instance(model: object, caller: str, root: object = None) -> None:
    """Check that an argument is a module, and that the path given for it is text or None.

    Raises:
        ProfileArgumentError: One of them is not.
    """
    if not isinstance(model, nn.Module):
        raise ProfileArgumentError(f"{caller} needs an nn.Module, not {describe(model)}. {how_to_get_model(model)}")
    if root is not None and not isinstance(root, str):
        raise ProfileArgumentError(
            f"root must be the path of the model in the profile, as in root='Net#2', not {describe(root)}."
        )


def check_profile(profile: object, caller: str) -> None:
    """Check that an argument is a profile.

    Raises:
        ProfileArgumentError: It is not.
    """
    if isinstance(profile, Views):
        return
    if isinstance(getattr(type(profile), "profile", None), property):
        advice = "Pass the mode's profile: m.profile."
    elif isinstance(profile, (str, os.PathLike)):
        advice = "Read a file with Profile.load(name)."
    elif isinstance(profile, nn.Module):
        advice = "Count the model first: count(model, x)."
    else:
        advice = "Profiles are made by count(model, x), and by a block: with OpFlopMode() as m: ... m.profile."
    raise ProfileArgumentError(f"{caller} needs a Profile, not {describe(profile)}. {advice}")


def check_fields(profile: Profile) -> None:
    """Check that the fields of a new profile are collections, and that rows are rows.

    Raises:
        ProfileArgumentError: They are not.
    """
    for each in fields(profile):
        value: Any = getattr(profile, each.name)
        if each.name in _RECORDS:
            kind_of_record = _RECORDS[each.name]
            if value is not None and not isinstance(value, kind_of_record):
                name = f"{kind_of_record.__module__}.{kind_of_record.__name__}"
                raise ProfileArgumentError(f"Profile({each.name}=...) needs an {name} or None, not {describe(value)}.")
            continue
        if type(value) is tuple and not value:
            continue
        fits = isinstance(value, Iterable) and not isinstance(value, (str, Tensor, nn.Module))
        if fits and each.name in _KINDS and isinstance(value, (tuple, list)):
            fits = all(isinstance(entry, _KINDS[each.name]) for entry in value[:1])
        if not fits:
            kind = f"{_KINDS[each.name].__name__}s" if each.name in _KINDS else "values"
            raise ProfileArgumentError(
                f"Profile({each.name}=...) needs a tuple of {kind}, not {describe(value)}. {advise('__init__', (), {})}"
            )
