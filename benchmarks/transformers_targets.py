"""Count every model type of transformers as ``opflops hf:`` does: ``python benchmarks/transformers_targets.py``.

Each type's default configuration is written to a ``config.json`` with nothing but its ``model_type``, and counted
without storage. A process of its own, with a limit on its time and memory, does so for each type. The table says what
came out:

- ``counted``: the multiply-accumulates, and the modules with parameters that never ran, if there are any.
- ``sentence``: it fails, but the error ends in ``--arg`` or ``--input`` options, and with these it counts.
- ``needs code``: its forward requires what is no tensor, such as a session; the error says so.
- ``failed``: it fails, and the error does not say what makes it work.
- ``no defaults``: transformers itself makes no model of the default configuration.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import shlex
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

_PATH = "_path_in_sweep"
_GIBIBYTES = 4
_FEW_LAYERS = 2
_NUMBERS_OF_LAYERS = (
    *("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers", "depth"),
    *("num_encoder_layers", "num_decoder_layers", "n_encoder_layers", "text_layers"),
)
_OPTION = re.compile(r"--(?:input|arg) (?:'[^']*'|\w+=\S*[^\s.,;])")
_NEEDS_CODE = "which --input cannot give"


class Outcome(NamedTuple):
    """Hold what came out for one model type.

    Attributes:
        model_type: The type, as configurations name it.
        model: The class of the model; "" if there is none.
        result: ``counted``, ``sentence``, ``needs code``, ``failed`` or ``no defaults``.
        macs: The multiply-accumulates of a forward pass, with the inputs that an error names if there was one.
        inputs: The inputs, with what the command line says about them.
        unused: The modules with parameters that never ran.
        error: The error.
        seconds: How much time of a CPU it took.
    """

    model_type: str
    model: str = ""
    result: str = "failed"
    macs: int = 0
    inputs: str = ""
    unused: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0


def shrink(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with at most two layers of each kind; lists of a value for each layer become shorter."""
    if configuration.get("depths") or configuration.get("out_features"):
        # The number of layers follows from their depths, and features of a backbone are taken after some layer.
        return configuration
    lengths = {value for name, value in configuration.items() if name in _NUMBERS_OF_LAYERS and isinstance(value, int)}
    fewer: dict[str, Any] = {}
    for name, value in configuration.items():
        if isinstance(value, dict):
            fewer[name] = shrink(value)
        elif name in _NUMBERS_OF_LAYERS and isinstance(value, int):
            fewer[name] = min(value, _FEW_LAYERS)
        elif isinstance(value, list) and len(value) in lengths and len(value) > _FEW_LAYERS:
            fewer[name] = value[:_FEW_LAYERS]
        else:
            fewer[name] = value
    return fewer


def count_type(model_type: str, *, few_layers: bool = False) -> Outcome:
    """Count the default configuration of a model type, in this process.

    Args:
        model_type: The type.
        few_layers: Whether to count two layers of each kind only.
    """
    if few_layers:
        outcome = _count_configuration(model_type, few_layers=True)
        if outcome.result in ("counted", "sentence") and " fails: " not in outcome.inputs:
            return outcome
    return _count_configuration(model_type)


def _count_configuration(model_type: str, *, few_layers: bool = False) -> Outcome:
    from transformers import AutoConfig  # noqa: PLC0415 - the parent process imports it

    try:
        extra = shrink(AutoConfig.for_model(model_type).to_dict()) if few_layers else {}
    except Exception as error:  # noqa: BLE001 - a sweep goes on whatever happens
        return Outcome(model_type, result="no defaults", error=f"{type(error).__name__}: {error}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps({**extra, "model_type": model_type}), encoding="utf-8")
        outcome = _count(model_type, str(path))
        suggested = _OPTION.findall(outcome.error)
        if outcome.result == "failed" and _NEEDS_CODE in outcome.error:
            return outcome._replace(result="needs code")
        if outcome.result == "counted" or not suggested:
            return outcome
        with_these = _count(model_type, str(path), suggested)
        if with_these.result != "counted":
            return outcome._replace(error=f"{outcome.error} · with these options: {with_these.error}")
        return with_these._replace(result="sentence", error=outcome.error)


def _count(model_type: str, path: str, given: Sequence[str] = ()) -> Outcome:
    from opflops.cli import inputs, targets  # noqa: PLC0415 - the parent process imports them
    from opflops.cli.arguments import count_parser  # noqa: PLC0415
    from opflops.cli.progress import Progress  # noqa: PLC0415
    from opflops.cli.run_options import RunOptions  # noqa: PLC0415
    from opflops.cli.running import count_target  # noqa: PLC0415
    from opflops.cli.sources import ModelRequest, Target  # noqa: PLC0415

    models: list[Any] = []
    used: set[str] = set()
    notes: list[str] = []
    outcome = Outcome(model_type)
    try:
        parsed = count_parser().parse_args([f"hf:{path}", *shlex.split(" ".join(given))])
        target = targets.find(f"hf:{path}", ModelRequest(dict(parsed.arg), has_inputs=bool(parsed.input)))
        assert isinstance(target, Target)  # noqa: S101 - the path is no saved profile
        make = target.make

        def make_and_keep() -> Any:
            models.append(_with_paths(make(), used))
            return models[-1]

        options = RunOptions(notes.append, Progress(shown=False), input_specs=inputs.parse_inputs(parsed.input))
        with _reads_noted(used), target.hints():
            counted = count_target(replace(target, make=make_and_keep), options)
    except Exception as error:  # noqa: BLE001 - a sweep goes on whatever happens
        name = type(models[-1]).__name__ if models else ""
        text = " ".join(f"{type(error).__name__}: {error}".split()).removeprefix("TargetError: ").replace(path, "PATH")
        result = "failed" if models or _can_be_made(model_type) else "no defaults"
        return outcome._replace(model=name, result=result, error=text)
    model = models[-1]
    return outcome._replace(
        model=type(model).__name__,
        result="counted",
        macs=counted.profile.total.macs,
        inputs="; ".join([counted.about.get("inputs", ""), *notes]),
        unused=tuple(_outermost_unused(model, used)),
    )


def _can_be_made(model_type: str) -> bool:
    """Return whether transformers alone makes a model of a type, without opflops."""
    import torch  # noqa: PLC0415 - the parent process imports it
    from transformers import AutoConfig, AutoModel  # noqa: PLC0415 - likewise

    try:
        with torch.device("meta"):
            AutoModel.from_config(AutoConfig.for_model(model_type))
    except Exception:  # noqa: BLE001 - it may raise anything
        return False
    return True


@contextmanager
def _reads_noted(used: set[str]) -> Iterator[None]:
    """Note the paths of modules whose parameters are read, also by modules above them."""
    from torch import nn  # noqa: PLC0415 - the parent process imports it

    original = nn.Module.__getattr__

    def read(self: Any, name: str) -> Any:
        if name in self.__dict__.get("_parameters", ()) and _PATH in self.__dict__:
            used.add(self.__dict__[_PATH])
        return original(self, name)

    nn.Module.__getattr__ = read
    try:
        yield
    finally:
        nn.Module.__getattr__ = original


def _with_paths(model: Any, used: set[str]) -> Any:
    """Tell the modules of a model, and copies of them, their paths; forget what was read before the model is called."""
    for path, module in model.named_modules():
        module.__dict__[_PATH] = path
    # Proposing inputs runs parts of the model.
    model.register_forward_pre_hook(lambda *_: used.clear())
    return model


def _outermost_unused(model: Any, used: set[str]) -> list[str]:
    """List the modules with parameters, none of which was read, and which are in no such module."""
    modules = dict(model.named_modules())
    # Several modules may share a parameter.
    read = {id(each) for path in used if path in modules for each in modules[path].parameters(recurse=False)}
    unused: list[str] = []
    for path, module in modules.items():
        parameters = {id(each) for each in module.parameters()}
        if parameters and not parameters & read and not any(path.startswith(f"{each}.") for each in unused):
            unused.append(path)
    return unused


def _child(model_type: str, few_layers: bool, sender: Connection) -> None:
    limit = _GIBIBYTES * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    outcome = count_type(model_type, few_layers=few_layers)
    sender.send(outcome._replace(seconds=time.process_time()))


def count_in_process(model_type: str, time_limit: float, *, few_layers: bool = False) -> Outcome:
    """Count a model type in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(model_type, few_layers, sender))
    process.start()
    sender.close()
    outcome = Outcome(model_type, error=f"took more than {time_limit:.0f} s")
    try:
        if receiver.poll(time_limit):
            outcome = receiver.recv()
    except EOFError:
        outcome = Outcome(model_type, error="its process died")
    process.kill()
    process.join()
    return outcome


def model_types() -> list[str]:
    """List all model types of transformers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # noqa: PLC0415 - takes seconds

    return sorted(CONFIG_MAPPING_NAMES)


def report(outcomes: Sequence[Outcome]) -> str:
    """Write the table, and how many types have each result."""
    rows = []
    for each in outcomes:
        never = f" · never ran: {', '.join(each.unused)}" if each.unused else ""
        text = f"{each.macs:,} macs{never}" if each.result == "counted" else each.error
        rows.append((each.model_type, each.model, each.result, each.inputs, text))
    table = tabulate(rows, ("type", "model", "result", "inputs", "macs, or the error"), tablefmt="github")
    numbers = Counter(each.result for each in outcomes)
    partly = sum(bool(each.unused) for each in outcomes if each.result == "counted")
    summary = ", ".join(f"{number} {result}" for result, number in numbers.most_common())
    return f"{table}\n\n{len(outcomes)} model types: {summary}; {partly} of those counted have modules that never ran"


def main() -> int:
    """Count the types that are named, or all; the exit code is 1 if one failed."""
    parser = argparse.ArgumentParser(description="Count every model type of transformers with its default inputs.")
    parser.add_argument("types", nargs="*", help="model types, such as llava; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="how many processes run at once (default: 2)")
    parser.add_argument("--time-limit", type=float, default=120, help="seconds for each type (default: 120)")
    parser.add_argument("--few-layers", action="store_true", help="count two layers of each kind only: much faster")
    parser.add_argument("--json", type=Path, help="also write the outcomes to this file")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch  # noqa: PLC0415 - after the environment is set

    import opflops.cli.running  # noqa: PLC0415, F401 - children need not import it again
    from opflops.cli.sources import huggingface  # noqa: PLC0415

    torch.set_num_threads(1)
    huggingface.names("")
    count_type("bert", few_layers=True)
    outcomes = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        names = arguments.types or model_types()
        for outcome in pool.map(
            lambda name: count_in_process(name, arguments.time_limit, few_layers=arguments.few_layers), names
        ):
            outcomes.append(outcome)
            if arguments.json:
                arguments.json.write_text(json.dumps([each._asdict() for each in outcomes], indent=1), encoding="utf-8")
            print(f"{outcome.model_type}: {outcome.result} ({outcome.seconds:.1f} s)", file=sys.stderr, flush=True)
    print(report(outcomes))
    return int(any(each.result == "failed" for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
