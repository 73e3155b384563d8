"""``hf:gpt2`` and ``hf:PATH/config.json``: models of transformers, made from their configuration without weights."""

from __future__ import annotations

from pathlib import Path
from socket import getaddrinfo
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from opflops.cli.sources import Asked, Target
from opflops.cli.user_code import guard_user_code
from opflops.errors import OpflopsError, TargetError
from opflops.extras import optional
from opflops.wording import format_error, nearest, unknown


def _transformers() -> Any:
    with guard_user_code("transformers fails to import"):
        transformers = optional("transformers", "models", "The target hf:NAME")
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        optional("huggingface_hub", "models", "The target hf:NAME").logging.set_verbosity_error()
    return transformers


def names(pattern: str | None = None) -> list[str]:
    """List the names of the hub whose configuration is in the cache here, or those that fit a pattern."""
    from fnmatch import fnmatch  # noqa: PLC0415 - for this alone

    hub = optional("huggingface_hub", "models", "The list of cached names")
    try:
        repositories = hub.scan_cache_dir().repos
    except hub.errors.CacheNotFound:
        return []
    found = sorted(
        repository.repo_id
        for repository in repositories
        if any(file.file_name == "config.json" for each in repository.revisions for file in each.files)
    )
    return [name for name in found if pattern is None or fnmatch(name, pattern)]


def find(name: str, asked: Asked) -> Target:
    """Find a configuration, in a file or folder here, in the cache, or on the hub.

    Raises:
        TargetError: There is none, it names no model, or it needs code that is not trusted.
        MissingExtraError: transformers is not installed.
    """
    transformers = _transformers()
    configuration = _configuration(transformers, name, asked)
    _let_no_part_fetch_weights(configuration)

    def make() -> Any:
        model = _made(transformers, configuration, name, trusted=asked.trust_remote_code)
        _let_experts_run_without_storage(model, asked)
        return model

    from opflops.cli.sources.huggingface_inputs import proposed  # noqa: PLC0415 - loads what makes tensors

    return Target(f"hf:{name}", make, proposed)


def _configuration(transformers: Any, name: str, asked: Asked) -> Any:
    place = _local(name)
    # A cache of keys and values would be made and filled, and then thrown away.
    options = {
        "use_cache": False,
        **asked.arguments,
        "trust_remote_code": asked.trust_remote_code,
        "return_unused_kwargs": True,
    }

    def read(**where: Any) -> Any:
        with guard_user_code("transformers fails"):
            return transformers.AutoConfig.from_pretrained(place or name, **options, **where)

    try:
        # What is in the cache is not asked for again.
        found, unused = read(local_files_only=True)
    except TargetError as error:
        if place is not None or not _is_absent(error.__cause__):
            raise _failed(name, place, asked, error.__cause__ or error) from error
        if (reason := _unreachable()) is not None:
            raise _failed(name, place, asked, reason) from error
        try:
            found, unused = read()
        except TargetError as later:
            raise _failed(name, place, asked, later.__cause__ or later) from later
    for field in unused:
        if field in asked.arguments:
            near = nearest(field, found.to_dict())
            hint = f"; did you mean {' or '.join(near)}?" if near else "."
            raise TargetError(f"The configuration {name} has no field {field!r}{hint}")
    return found


def _let_no_part_fetch_weights(configuration: Any) -> None:
    """Make backbones from their configuration too: transformers 4 would fetch their weights by default."""
    parts = [each for each in vars(configuration).values() if hasattr(each, "model_type")]
    if getattr(configuration, "use_pretrained_backbone", False):
        configuration.use_pretrained_backbone = False
    for part in parts:
        _let_no_part_fetch_weights(part)


def _is_absent(error: BaseException | None) -> bool:
    """Tell a name that is not in the cache from a configuration that is no good."""
    return isinstance(error, OSError)


def _unreachable() -> OSError | None:
    """Tell why the hub cannot be asked, where that is plain: its client would go on trying for half a minute."""
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


def _local(name: str) -> str | None:
    """Return the path of a file or folder, or None for a name of the hub.

    Raises:
        TargetError: It is a path, and there is nothing there.
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


def _failed(name: str, place: str | None, asked: Asked, error: BaseException) -> OpflopsError:
    message = " ".join(str(error).split())
    if "trust_remote_code" in message and not asked.trust_remote_code:
        return TargetError(f"{name} needs code that it brings itself; --trust-remote-code runs it.")
    if place is not None:
        return TargetError(f"{name} is no configuration that transformers knows ({format_error(error)[:200]}).")
    return TargetError(
        f"The configuration of {name!r} is not in the cache of Hugging Face, and cannot be fetched "
        f"({message[:120].rstrip('. ')}); give a file instead, as hf:PATH/config.json."
    )


def _let_experts_run_without_storage(model: Any, asked: Asked) -> None:
    """Choose a form of the experts' products that has a kernel on meta, which the usual one has in bfloat16 alone.

    Their arithmetic is the same; the other form copies the weights of the experts that tokens go to.
    """
    dtype = asked.dtype or str(model.dtype).removeprefix("torch.")
    if model.device.type != "meta" or dtype == "bfloat16" or not hasattr(model, "set_experts_implementation"):
        return
    if model.get_experts_implementation().get("") == "grouped_mm":
        model.set_experts_implementation("batched_mm")


def _made(transformers: Any, configuration: Any, name: str, *, trusted: bool) -> Any:
    """Make the model that a configuration names; its weights are never looked for."""
    architectures = getattr(configuration, "architectures", None) or []
    remote = getattr(configuration, "auto_map", None) or {}
    for architecture in architectures:
        if trusted:
            for auto, reference in remote.items():
                if auto.startswith("AutoModel") and reference.rpartition(".")[2] == architecture:
                    return getattr(transformers, auto).from_config(configuration, trust_remote_code=True)
        known = getattr(transformers, architecture, None)
        if known is not None:
            return known._from_config(configuration)  # noqa: SLF001 - what from_config() of the Auto classes calls
    if architectures and any(auto.startswith("AutoModel") for auto in remote):
        raise TargetError(f"{name} needs code that it brings itself; --trust-remote-code runs it.")
    if architectures:
        every = [each for each in dir(transformers) if each.endswith(("Model", "LM", "Classification", "Generation"))]
        raise TargetError(f"{name}: {unknown('model of transformers', architectures[0], every)}")
    return transformers.AutoModel.from_config(configuration, trust_remote_code=trusted)
