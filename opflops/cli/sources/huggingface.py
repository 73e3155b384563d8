"""``hf:gpt2`` and ``hf:PATH/config.json``: transformers models, made from their configuration without weights."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from shlex import quote
from socket import getaddrinfo
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from opflops.cli.collector import importing
from opflops.cli.sources import ModelRequest, Target
from opflops.cli.user_code import guard_user_code
from opflops.errors import OpflopsError, TargetError
from opflops.extras import optional
from opflops.wording import format_error, nearest, unknown

if TYPE_CHECKING:
    from opflops.cli.call_arguments import CallArguments

_MISSING = {
    "autoformer": ("prediction_length=24", "context_length=24"),
    "chameleon": ('vocabulary_map={"<image>": 8711, "IMGIMGAZ": 4}', "image_token_id=8711"),
    "deepseek_v2": ("num_experts_per_tok=6",),
    "emu3": (
        'vocabulary_map={"<image>": 151851, "<|extra_200|>": 8, "<|visual token 000000|>": 9}',
        "image_token_id=151851",
    ),
    "esm": ("vocab_size=33", "pad_token_id=1"),
    "informer": ("prediction_length=24", "context_length=24"),
    "time_series_transformer": ("prediction_length=24", "context_length=24"),
    "vitmatte": ("hidden_size=768",),
}
"""Fields without which the defaults of a model type do not make a model that runs, as ``--arg`` takes them."""


def _import_transformers() -> Any:
    with guard_user_code("transformers fails to import"):
        transformers = optional("transformers", "models", "The target hf:NAME")
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        optional("huggingface_hub", "models", "The target hf:NAME").logging.set_verbosity_error()
    return transformers


def names(pattern: str | None = None) -> list[str]:
    """List the hub's models whose configuration is in the local cache, or those that match a pattern."""
    from fnmatch import fnmatch  # noqa: PLC0415 - only used here

    hub = optional("huggingface_hub", "models", "The list of cached names")
    try:
        repositories = hub.scan_cache_dir().repos
    except hub.errors.CacheNotFound:
        return []
    cached = sorted(
        repository.repo_id
        for repository in repositories
        if any(file.file_name == "config.json" for each in repository.revisions for file in each.files)
    )
    return [name for name in cached if pattern is None or fnmatch(name, pattern)]


def find(name: str, request: ModelRequest) -> Target:
    """Find a configuration in a local file or folder, in the cache, or on the hub.

    Raises:
        TargetError: There is none, it does not name a known model, or it needs code that is not trusted.
        MissingExtraError: transformers is not installed.
    """
    transformers = _import_transformers()
    configuration = _configuration(transformers, name, request)
    _disable_pretrained_backbones(configuration)
    _use_lists(configuration)

    def make() -> Any:
        with importing():
            model = _make_model(transformers, configuration, name, trusted=request.trust_remote_code)
        model = _part_with_forward(model)
        _use_batched_experts_on_meta(model, request)
        return model

    def propose(model: Any, batch: int) -> CallArguments | None:
        proposed = huggingface_inputs.propose_inputs(model, batch, request.ids_shape, request.generate)
        if proposed is None and not request.has_inputs and (reason := huggingface_inputs.explain_missing_inputs(model)):
            raise TargetError(reason)
        return proposed

    from opflops.cli.sources import huggingface_inputs  # noqa: PLC0415 - only models need it

    return Target(
        f"hf:{name}",
        make,
        propose,
        hint=_hint(configuration, request),
        find_keywords=huggingface_inputs.find_keywords,
    )


def _hint(configuration: Any, request: ModelRequest) -> str:
    """Write what to try if a configuration fails that is mostly defaults: those of published models have a class."""
    if getattr(configuration, "architectures", None):
        return ""
    missing = _MISSING.get(configuration.model_type, ())
    if missing and missing[0].partition("=")[0] not in request.arguments:
        options = " ".join(f"--arg {quote(each)}" for each in missing)
        return f"The defaults of {configuration.model_type!r} in transformers work with {options}."
    return (
        "A configuration without architectures is mostly defaults, which need not fit together: give the config.json "
        "of a published model, or set fields with --arg."
    )


def _configuration(transformers: Any, name: str, request: ModelRequest) -> Any:
    path = _local_path(name)
    # A KV cache would be filled and then thrown away.
    options = {
        "use_cache": False,
        **request.arguments,
        "trust_remote_code": request.trust_remote_code,
        "return_unused_kwargs": True,
    }

    def read(**where: Any) -> Any:
        with guard_user_code("transformers fails"):
            return transformers.AutoConfig.from_pretrained(path or name, **options, **where)

    try:
        # Try the cache first, without a request to the hub.
        configuration, unused = read(local_files_only=True)
    except TargetError as error:
        if path is not None or not _is_absent(error.__cause__):
            raise _failed(name, path, request, error.__cause__ or error) from error
        if (reason := _unreachable()) is not None:
            raise _failed(name, path, request, reason) from error
        try:
            configuration, unused = read()
        except TargetError as later:
            raise _failed(name, path, request, later.__cause__ or later) from later
    for field in unused:
        if field in request.arguments:
            near = nearest(field, configuration.to_dict())
            hint = f"; did you mean {' or '.join(near)}?" if near else "."
            raise TargetError(f"The configuration {name} has no field {field!r}{hint}")
    return configuration


def _disable_pretrained_backbones(configuration: Any) -> None:
    """Make backbones from their configuration too; transformers 4 would download their weights."""
    parts = [each for each in vars(configuration).values() if hasattr(each, "model_type")]
    if getattr(configuration, "use_pretrained_backbone", False):
        configuration.use_pretrained_backbone = False
    for part in parts:
        _disable_pretrained_backbones(part)


def _use_lists(configuration: Any) -> None:
    """Turn tuples, which only defaults have, into lists, as a file has them: models may add them to lists."""
    for field, value in list(vars(configuration).items()):
        if type(value) is tuple:
            setattr(configuration, field, list(value))


def _is_absent(error: BaseException | None) -> bool:
    """Tell whether transformers did not find a configuration, rather than failed to read it."""
    return isinstance(error, OSError)


def _unreachable() -> OSError | None:
    """Return why the hub cannot be reached, if that is quick to find out: its client would retry for half a minute."""
    hub = optional("huggingface_hub", "models", "The target hf:NAME")
    if hub.constants.HF_HUB_OFFLINE:
        return OSError("HF_HUB_OFFLINE is set")
    if getproxies():
        return None
    try:
        getaddrinfo(urlsplit(hub.constants.ENDPOINT).hostname, None)
    except OSError as error:
        return error
    return None


def _local_path(name: str) -> str | None:
    """Return the path of a file or folder; None for a name on the hub.

    Raises:
        TargetError: It is a path that does not exist.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise TargetError(f"The folder {name!r} has no config.json.")
        return str(path)
    if path.is_file():
        return str(path)
    if path.suffix == ".json" or name.startswith((".", "/", "~")):
        raise TargetError(f"There is no file or folder {name!r}.")
    return None


def _failed(name: str, path: str | None, request: ModelRequest, error: BaseException) -> OpflopsError:
    message = " ".join(str(error).split())
    if "trust_remote_code" in message and not request.trust_remote_code:
        return TargetError(f"{name} needs code of its own. If you trust it, give --trust-remote-code.")
    if path is not None:
        return TargetError(f"transformers does not know the configuration {name} ({format_error(error)[:200]}).")
    return TargetError(
        f"The configuration of {name!r} is not in the Hugging Face cache and cannot be downloaded "
        f"({message[:120].rstrip('. ')}); give a file instead, as hf:PATH/config.json."
    )


def _use_batched_experts_on_meta(model: Any, request: ModelRequest) -> None:
    """Choose batched matmuls for mixtures of experts: grouped ones have a meta kernel only in bfloat16.

    Both do the same arithmetic; the batched form also copies the weights of the chosen experts.
    """
    dtype = request.dtype or str(model.dtype).removeprefix("torch.")
    if model.device.type != "meta" or dtype == "bfloat16" or not hasattr(model, "set_experts_implementation"):
        return
    if model.get_experts_implementation().get("") == "grouped_mm":
        model.set_experts_implementation("batched_mm")


def _lacks_forward(model_class: type) -> bool:
    """Return whether a class is a base of others, or only holds parts."""
    return getattr(getattr(model_class, "forward", None), "__name__", "") == "_forward_unimplemented"


def _part_with_forward(model: Any) -> Any:
    """Return a model; its first part that can be called, if it only holds parts that are called one after another."""
    if not _lacks_forward(type(model)):
        return model
    parts = [part for part in model.children() if hasattr(part, "main_input_name")]
    return parts[0] if parts else model


def _make_model(transformers: Any, configuration: Any, name: str, *, trusted: bool) -> Any:
    """Make the model that a configuration names, without weights."""
    architectures = getattr(configuration, "architectures", None) or []
    remote = getattr(configuration, "auto_map", None) or {}
    for architecture in architectures:
        if trusted:
            for auto, reference in remote.items():
                if auto.startswith("AutoModel") and reference.rpartition(".")[2] == architecture:
                    return getattr(transformers, auto).from_config(configuration, trust_remote_code=True)
        model_class = getattr(transformers, architecture, None)
        if model_class is not None:
            return model_class._from_config(configuration)  # noqa: SLF001 - the Auto classes' from_config() calls it
    if architectures and any(auto.startswith("AutoModel") for auto in remote):
        raise TargetError(f"{name} needs code of its own. If you trust it, give --trust-remote-code.")
    if architectures:
        every = [each for each in dir(transformers) if each.endswith(("Model", "LM", "Classification", "Generation"))]
        raise TargetError(f"{name}: {unknown('model of transformers', architectures[0], every)}")
    if remote and trusted:
        return transformers.AutoModel.from_config(configuration, trust_remote_code=True)
    return _model_class(transformers, configuration, name)._from_config(configuration)  # noqa: SLF001 - as above


def _model_class(transformers: Any, configuration: Any, name: str) -> Any:
    """Return the class of a configuration without architectures: the base model, or else the first with a head.

    Raises:
        TargetError: transformers has no model of this configuration alone.
    """
    auto = transformers.models.auto.modeling_auto
    tables = [auto.MODEL_MAPPING, *(getattr(auto, each) for each in sorted(vars(auto)) if each.endswith("_MAPPING"))]
    for table in tables:
        try:
            found = table[type(configuration)]
        except KeyError:
            continue
        model_class = found[0] if isinstance(found, (list, tuple)) else found
        # A table may name the decoder of a model, which has a configuration of its own.
        if getattr(model_class, "config_class", None) in (None, type(configuration)):
            return model_class
    module = import_module(type(configuration).__module__.replace("configuration_", "modeling_"))
    classes = [each for each in vars(module).values() if isinstance(each, type) and not _lacks_forward(each)]
    own = [each for each in classes if vars(each).get("config_class") is type(configuration)]
    own += [each for each in classes if each.__name__.endswith("ForConditionalGeneration")]
    if not own:
        raise TargetError(f'transformers has no model for the configuration {name} alone. Add "architectures" to it.')
    return own[0]
