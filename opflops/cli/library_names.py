"""Find a bare name among the models of installed libraries, by reading their source: importing them takes seconds."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from opflops.extras import how_to_install
from opflops.wording import join, nearest

_REGISTERED = re.compile(r"^@register_model\b[^\n]*\n(?:@[^\n]*\n)*def (\w+)", re.MULTILINE)
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def suggest_libraries(name: str) -> str:
    """Write the targets that a bare name may mean, as a sentence with a space before it; "" if it is no such name.

    Models of torchvision and timm are found by name, and those of transformers by model type.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        return ""
    if "/" in name:
        return f" For a model of the Hugging Face Hub, write hf:{name}."
    known = {package: _list_names(package) for package in ("torchvision", "timm", "transformers")}
    types = known.pop("transformers")
    exact = [f"{prefix}:{name}" for prefix, names in known.items() if name in names]
    similar = [f"{prefix}:{near}" for prefix, names in known.items() for near in nearest(name, names, 1)]
    if exact or (similar and name not in types):
        return f" Did you mean {join(exact or similar, 'or')}?"
    if name in types:
        return (
            f" transformers has models of type {name!r}: write one's name on the Hugging Face Hub, as hf:ORG/NAME, or "
            "hf:PATH/config.json."
        )
    if not types and not any(known.values()):
        written = join([f"{prefix}:{name}" for prefix in ("torchvision", "timm", "hf")], "or")
        return (
            f" For a model of a library, write the library too, as in {written}. No such library is installed. "
            f"{how_to_install('models')}"
        )
    return ""


def _list_names(package: str) -> set[str]:
    """List the models that an installed package registers; none if it is not installed."""
    spec = find_spec(package)
    models = Path(spec.origin).parent / "models" if spec is not None and spec.origin else None
    if models is None or not models.is_dir():
        return set()
    if package == "transformers":
        return {each.name for each in models.iterdir() if each.is_dir() and not each.name.startswith("_")}
    sources = (each.read_text(encoding="utf-8", errors="replace") for each in models.rglob("*.py"))
    return {name for source in sources for name in _REGISTERED.findall(source)}
