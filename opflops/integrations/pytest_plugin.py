"""A pytest plugin: the fixture ``flop_budget``, which fails a test when a model grows.

The plugin is active wherever opflops is installed. PyTorch is imported only when a test uses the fixture.
``pytest -p no:opflops`` turns the plugin off.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the type of a dataclass field
from typing import TYPE_CHECKING, Any

import pytest

from opflops.records.arguments import describe, explain_arguments

# PyTorch, and modules that import it, are imported when a test uses a budget: other tests need not wait for it.

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opflops.mode import OpFlopMode
    from opflops.profile.profile import Profile

UPDATE_OPTION = "--opflops-update"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that rewrites baselines."""
    parser.getgroup("opflops", "FLOP budgets").addoption(
        UPDATE_OPTION, action="store_true", help="rewrite the baselines of flop_budget"
    )


@pytest.fixture
def flop_budget(request: pytest.FixtureRequest) -> FlopBudget:
    """Count a model without running it, and fail the test if it exceeds a limit.

    ``flop_budget(model, *inputs, macs=4.1e9)`` returns the profile, and ``flop_budget(profile, macs=4.1e9)`` checks one
    that was counted; :meth:`FlopBudget.__call__` lists all limits.
    """
    return FlopBudget(request.path.parent, update=request.config.getoption(UPDATE_OPTION))


@dataclass(frozen=True)
class FlopBudget:
    """Hold the folder of the baselines, and whether to rewrite them."""

    folder: Path
    update: bool = False

    @explain_arguments(name="flop_budget")
    def __call__(
        self,
        model: Callable[..., Any] | Profile | OpFlopMode,
        *inputs: Any,
        macs: float | None = None,
        flops: float | None = None,
        transcendentals: float | None = None,
        bytes: float | None = None,
        parameters: float | None = None,
        backward: bool = False,
        optimizer: Any = None,
        tolerance: float | str = 0,
        baseline: str | Path | None = None,
        fail_above: float | str = "1%",
        allow_unpriced: bool = False,
        kwargs: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> Profile:
        """Count a call of a model, and fail the test if it exceeds a limit.

        Args:
            model: The module or function to call, as for :func:`opflops.count`; or what was counted already: a
                profile, or an ``OpFlopMode`` whose block has ended. So models that ``count`` cannot run have budgets.
            *inputs: The model's positional arguments.
            macs: The maximum number of multiply-accumulates.
            flops: The maximum number of floating-point operations.
            transcendentals: The maximum number of transcendental functions.
            bytes: The maximum memory traffic, in bytes.
            parameters: The maximum number of parameters of the model.
            backward: Also count the gradients.
            optimizer: Also count gradients and one step, as for :func:`opflops.count`.
            tolerance: How far limits may be exceeded: ``"1%"`` or ``0.01``.
            baseline: A file with an earlier profile, relative to the folder of the test file;
                ``pytest --opflops-update`` writes it. The test fails if a total (macs, flops, transcendentals, bytes)
                grew.
            fail_above: How far totals may grow from the baseline: ``"1%"`` or ``0.01``.
            allow_unpriced: Whether to accept operators without a formula; otherwise they fail the test.
            kwargs: The model's keyword arguments as a dict, for those that have the names of these arguments, as in
                ``kwargs={"parameters": 3}``.
            **keywords: The model's other keyword arguments.

        Returns:
            The profile.

        Raises:
            ArgumentError: A keyword is almost one of these arguments, or a profile is given with what only a model has.
            ProfileError: There is neither a limit nor a baseline, a limit is not a valid number, or the baseline is not
                a profile.
            OpflopsError: The model cannot be counted; see :func:`opflops.count`.
        """
        from opflops.profile import budgets  # noqa: PLC0415 - see above

        limits = {"macs": macs, "flops": flops, "transcendentals": transcendentals, "bytes": bytes}
        all_limits = {**limits, "parameters": parameters}
        tolerated, growth_tolerated = budgets.parse_fraction(tolerance), budgets.parse_fraction(fail_above)
        counted = _counted(model, (*inputs, *([kwargs] if kwargs else [])), keywords, backward, optimizer)
        arguments = {} if counted is not None else _model_keywords(model, inputs, keywords, kwargs)
        _check_limits(model, all_limits, baseline)
        profile = counted if counted is not None else _count(model, inputs, arguments, backward, optimizer)
        counts = {**budgets.totals(profile), "parameters": _count_parameters(model, profile)}
        exceeded = budgets.exceeded_limits(counts, all_limits, tolerated)
        failures = list(exceeded.values())
        measure = next((name for name in exceeded if name in limits), "macs")
        details = [budgets.format_largest(profile, measure)] if exceeded else []
        if baseline is not None:
            before = self._load_baseline(self.folder / baseline, profile)
            if growth := budgets.regressions(before, profile, growth_tolerated):
                failures += growth.values()
                details.append(budgets.format_changes(before, profile, next(iter(growth))))
        failures += [] if allow_unpriced else budgets.unpriced_messages(profile)
        if failures:
            name = "The profile" if counted is not None else getattr(model, "__qualname__", type(model).__name__)
            pytest.fail("\n".join([f"{name} is over its budget:", *failures, *details]), pytrace=False)
        return profile

    def _load_baseline(self, path: Path, profile: Profile) -> Profile:
        """Read a baseline, after writing it if baselines are rewritten."""
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{profile.to_json()}\n", encoding="utf-8")
        if not path.is_file():
            pytest.fail(f"There is no baseline {path}. Write it with: pytest {UPDATE_OPTION}", pytrace=False)
        try:
            written = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            from opflops.errors import ProfileError  # noqa: PLC0415 - see above

            raise ProfileError(f"The baseline {path} is not a profile: it is not text in UTF-8 ({error}).") from error
        return type(profile).from_json(written)


_OPTIONS = (
    "macs", "flops", "transcendentals", "bytes", "parameters", "backward", "optimizer", "tolerance", "baseline",
    "fail_above", "allow_unpriced", "kwargs",
)  # fmt: skip


def _counted(
    model: Any, inputs: tuple[Any, ...], keywords: Mapping[str, Any], backward: bool, optimizer: Any
) -> Profile | None:
    """Return the profile, if one is given or a mode that has one, and not a model to count.

    Raises:
        ArgumentError: It is given with what only a model has, or the mode is still counting.
    """
    from opflops.errors import ArgumentError, UsageWarning  # noqa: PLC0415 - see above
    from opflops.mode import OpFlopMode  # noqa: PLC0415 - see above
    from opflops.profile.profile import Profile  # noqa: PLC0415 - see above
    from opflops.wording import nearest  # noqa: PLC0415 - see above

    if not isinstance(model, (Profile, OpFlopMode)):
        return None
    for name in keywords:
        if near := nearest(name, _OPTIONS, 1):
            raise ArgumentError(f"flop_budget has no argument {name!r}; did you mean {near[0]}?")
    if inputs or keywords:
        extra = describe(inputs[0]) if inputs else next(iter(keywords))
        raise ArgumentError(
            f"flop_budget(profile) counts nothing, so that it cannot use {extra}. Give a profile and its limits, as in "
            "flop_budget(profile, macs=4.1e9), or a model and its inputs."
        )
    if backward or optimizer is not None:
        raise ArgumentError(
            f"{'backward' if backward else 'optimizer'}= works only for a model. Run that in the block that is "
            "profiled: with OpFlopMode() as m: model(x).sum().backward()."
        )
    if isinstance(model, OpFlopMode):
        if model.active:
            raise ArgumentError("This OpFlopMode is still counting. Call flop_budget(m, ...) after its block.")
        with warnings.catch_warnings():
            # A mode that has not been entered warns.
            warnings.simplefilter("error", UsageWarning)
            profile: Profile = model.profile
    else:
        profile = model
    if not profile.rows:
        raise ArgumentError("Nothing was counted in this profile. Run the model inside the block, and then check it.")
    return profile


def _model_keywords(
    model: Any, inputs: tuple[Any, ...], keywords: Mapping[str, Any], kwargs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the keyword arguments of the model.

    Raises:
        ArgumentError: The model takes no such keyword, or it is almost an argument of the budget.
    """
    from opflops.counting.call_options import check_callable, merge_keywords  # noqa: PLC0415 - see above

    check_callable(model, inputs, "flop_budget()")
    return merge_keywords(model, keywords, kwargs, "flop_budget()", _OPTIONS)


def _check_limits(model: object, limits: dict[str, float | None], baseline: object) -> None:
    from opflops.errors import ProfileError  # noqa: PLC0415 - see above
    from opflops.profile.budgets import check_limits  # noqa: PLC0415 - see above

    check_limits(limits)
    if baseline is not None and not isinstance(baseline, (str, os.PathLike)):
        raise ProfileError(
            f"baseline must be the name of a file, as in baseline='model.json', not {describe(baseline)}. "
            "pytest --opflops-update writes it."
        )
    if baseline is None and all(limit is None for limit in limits.values()):
        raise ProfileError(
            f"flop_budget needs a limit or a baseline. Give one of {', '.join(limits)}, as in macs=4.1e9, or baseline=."
        )
    if limits["parameters"] is not None and not hasattr(model, "parameters") and not hasattr(model, "profile"):
        raise ProfileError(
            f"parameters= works only for a torch.nn.Module or what was counted of one, not for {type(model).__name__}. "
            "Give the module itself."
        )


def _count(model: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], backward: bool, optimizer: Any) -> Profile:
    from opflops.counting.count import count  # noqa: PLC0415 - see above
    from opflops.errors import UnpricedOpWarning  # noqa: PLC0415 - see above

    with warnings.catch_warnings():
        # Unpriced operators fail the test, or are allowed.
        warnings.simplefilter("ignore", UnpricedOpWarning)
        return count(model, *inputs, backward=backward, optimizer=optimizer, kwargs=kwargs)


def _count_parameters(model: Any, profile: Profile) -> int:
    """Count the parameters of a module, each shared one once; of a profile or a mode, those of the modules that ran."""
    if callable(getattr(model, "parameters", None)):
        return sum(each.numel() for each in model.parameters())
    return profile.parameters
