"""Read sizes from a transformers configuration and from the code and documentation of a model's forward."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

from torch import nn

from opflops.cli.call_arguments import parameters_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONS = ("max_position_embeddings", "n_positions", "max_target_positions", "n_ctx", "max_seq_len", "seq_length")
_KEYWORD_READ = re.compile(r"""kwargs(?:\.get\(|\.pop\(|\[)\s*["'](\w+)""")
_SHAPE_IN_DOCUMENTATION = r"^\s*{}\s*\(.*?shape:?\s*`?\(([^()]*)\)"
_UNPACKED_SHAPE = r"^\s*\(?((?:\w+\s*,\s*)+\w+)\)?\s*=\s*{}\.(?:shape|size\(\))\s*$"


_CROSS_ATTENTION = ("cross_attention", "crossattention", "encoder_attn", "cross_attn")
# In the message of a check.
_DEMANDED_SHAPE = r"[Ii]nput must be a \dD tensor of shape \((batch_size, [^()]*)\)"


class Fields:
    """Look up what a model says about its inputs.

    Attributes:
        model: The model.
        configuration: Its configuration.
        parameters: The parameters of its forward by name, without ``*args`` and ``**kwargs``.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.configuration = model.config
        self.parameters = {each.name: each for each in parameters_of(model) if each.kind not in _VARIABLE}

    def get(self, *names: str, part: str = "") -> Any:
        """Return the value of the first of these fields that the configuration, or a part of it, has; None without any.

        Args:
            *names: Fields, the preferred ones first.
            part: Look into the parts with this word in their name first, as in ``vision_config``.
        """
        parts = sorted(self._parts, key=lambda each: bool(part) and part not in each[0])
        for name in names:
            for _, each in parts:
                value = each.get(name) if isinstance(each, dict) else getattr(each, name, None)
                if value is not None:
                    return value
        return None

    def integer(self, *names: str, part: str = "", default: int) -> int:
        """Return the first of these fields that is a positive integer."""
        for name in names:
            value = self.get(name, part=part)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return default

    @cached_property
    def _parts(self) -> list[tuple[str, Any]]:
        """List the configuration and the configurations inside it, outer ones first."""
        found: list[tuple[str, Any]] = [("", self.configuration)]
        for name, part in found:
            for field, value in vars(part).items() if not isinstance(part, dict) else ():
                is_part = hasattr(value, "model_type") or (isinstance(value, dict) and field.endswith("config"))
                if is_part and len(found) < 30:  # noqa: PLR2004 - more than any has; ends a configuration in itself
                    found.append((f"{name}.{field}", value))
        return found

    def requires(self, name: str) -> bool:
        """Return whether the forward has a parameter without a default."""
        return name in self.parameters and self.parameters[name].default is inspect.Parameter.empty

    @property
    def linear_layers(self) -> dict[str, nn.Linear]:
        """The linear layers of the model by their paths."""
        return {path: each for path, each in self.model.named_modules() if isinstance(each, nn.Linear)}

    @property
    def cross_attention_width(self) -> int | None:
        """How many values the vectors have that cross attention reads; None without such layers."""
        for path, layer in self.linear_layers.items():
            *above, last = path.split(".")
            if last in ("k_proj", "key", "kv_proj") and any(each in _CROSS_ATTENTION for each in above):
                return layer.in_features
        return None

    @property
    def dereferenced(self) -> list[str]:
        """List the parameters with a default of None that the forward reads a part of without a check."""
        return _dereferenced(type(self.model).forward, self.parameters)

    @property
    def demanded(self) -> list[str]:
        """List the parameters without which a module raises an error that names them."""
        return [name for name in self.parameters if self.checks(f'"{name} must be given')]

    def is_integer(self, name: str) -> bool:
        """Return whether the annotation or the documentation of a parameter says that it holds integers."""
        annotation = str(self.parameters[name].annotation) if name in self.parameters else ""
        described = re.search(rf"^\s*{name}\s*\(([^)]*)", self._documentation, re.MULTILINE)
        return "LongTensor" in annotation or (described is not None and "LongTensor" in described[1])

    def is_documented_as_required(self, name: str) -> bool:
        """Return whether the documentation has a shape for a parameter and does not call it optional."""
        line = re.search(rf"^\s*{name}\s*\(.*$", self._documentation, re.MULTILINE)
        return line is not None and "optional" not in line[0] and self.documented_axes(name) is not None

    @property
    def keywords(self) -> set[str]:
        """The inputs that the forward may pass on in ``**kwargs``: what methods of its modules take or read by name."""
        found = {name for code in self._code() for name in _KEYWORD_READ.findall(code)}
        for each in dict.fromkeys(type(module) for module in self.model.modules()):
            if each.__module__.startswith("torch."):
                continue
            for method in filter(inspect.isfunction, vars(each).values()):
                for parameter in inspect.signature(method).parameters.values():
                    found.add(parameter.name)
                    # Unpack[TransformersKwargs] lists more names.
                    for listed in get_args(parameter.annotation) if parameter.kind is parameter.VAR_KEYWORD else ():
                        found |= {*getattr(listed, "__annotations__", ())}
        return found

    @property
    def positions(self) -> int | None:
        """How many tokens a text may have; None if the configuration does not say."""
        number = self.get(*_POSITIONS, part="text")
        return number if isinstance(number, int) and number > 0 else None

    @property
    def replaces_tokens(self) -> bool:
        """Whether the model replaces the embeddings of some tokens by those of images or sounds."""
        return any(placeholder_field(self, modality) is not None for modality in ("image", "audio"))

    def axes(self, name: str) -> list[str] | None:
        """Return the names of an input's axes: as the code unpacks its shape, or else as the documentation says."""
        for code in self._code():
            if found := re.search(_DEMANDED_SHAPE, code):
                return [axis.strip() for axis in found[1].split(",")]
        pattern = re.compile(_UNPACKED_SHAPE.format(name), re.MULTILINE)
        for code in self._code():
            if found := pattern.search(code):
                return [axis.strip() for axis in found[1].split(",")]
        return self.documented_axes(name)

    def documented_axes(self, name: str) -> list[str] | None:
        """Return the names of an input's axes in the documentation of the forward; None if it says none."""
        found = re.search(_SHAPE_IN_DOCUMENTATION.format(name), self._documentation, re.MULTILINE)
        return [axis.strip(" `'") for axis in found[1].split(",") if axis.strip()] if found else None

    def checks(self, text: str) -> bool:
        """Return whether the code of the model, or of a module inside it, contains a text."""
        return any(text in code for code in self._code())

    @property
    def _documentation(self) -> str:
        return inspect.getdoc(type(self.model).forward) or ""

    def _code(self) -> Iterator[str]:
        yield from self._codes

    @cached_property
    def _codes(self) -> list[str]:
        """List the code of the classes of the model and its modules, outer ones first."""
        classes = dict.fromkeys(type(each) for each in self.model.modules())
        codes = []
        for each in classes:
            if each.__module__.startswith("torch.") or each is nn.Module:
                continue
            try:
                codes.append(inspect.getsource(each))
            except (OSError, TypeError):  # made in a session, or without a file
                continue
        return codes


def placeholder_field(fields: Fields, modality: str) -> tuple[Any, str] | None:
    """Find the field of the token whose embeddings the model replaces by those of images or sounds.

    Returns:
        The configuration that has it, which is that of the model or of a model that it wraps, and its name.
    """
    names = (f"{modality}_token_id", f"{modality}_token_index", f"{modality}_placeholder_token_id")
    for configuration in (fields.configuration, getattr(fields.configuration, "vlm_config", None)):
        for name in names:
            if hasattr(configuration, name):
                return configuration, name
    return None


def _dereferenced(function: Any, parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """List the optional parameters that the code of a function reads an attribute or an item of in any case."""
    optional = {name for name, each in parameters.items() if each.default is None}
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # without a file, or no function
        return []
    found: dict[str, None] = {}
    for statement in getattr(definition, "body", []):
        if not isinstance(statement, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
            found |= dict.fromkeys(name for name in _reads_of_parts(statement) if name in optional)
        # Under a condition, the code may give a value to what has none.
        optional -= {each.id for each in ast.walk(statement) if isinstance(each, ast.Name) and _is_stored(each)}
    return list(found)


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _reads_of_parts(node: ast.AST) -> Iterator[str]:
    """Yield the names that attributes and items are read of, outside expressions with conditions."""
    if isinstance(node, (ast.IfExp, ast.BoolOp, ast.Lambda, ast.FunctionDef)):
        return
    if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.value, ast.Name):
        yield node.value.id
    for child in ast.iter_child_nodes(node):
        yield from _reads_of_parts(child)
