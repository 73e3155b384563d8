"""A pytest plugin: the fixture ``flop_budget``, with which a test fails when a model grows.

It is active wherever opflops is installed, and costs nothing where it is not used: PyTorch is imported with the first
budget. ``pytest -p no:opflops`` leaves it out.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - of a field, which readers of types look up
from typing import TYPE_CHECKING, Any

import pytest

# PyTorch, and what imports it, is imported when a budget is asked for: not every test of a user is about a model.

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.profile.profile import Profile

UPDATE = "--opflops-update"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes baselines."""
    parser.getgroup("opflops", "budgets of floating-point operations").addoption(
        UPDATE, action="store_true", help="write the baselines of flop_budget anew"
    )


@pytest.fixture
def flop_budget(request: pytest.FixtureRequest) -> FlopBudget:
    """Count a model, without memory or arithmetic, and fail the test where it is over a limit.

    ``flop_budget(model, *inputs, macs=4.1e9)`` returns the profile; :meth:`FlopBudget.__call__` has the limits.
    """
    return FlopBudget(request.path.parent, update=request.config.getoption(UPDATE))


@dataclass(frozen=True)
class FlopBudget:
    """Hold where baselines are, and whether they are written anew."""

    folder: Path
    update: bool = False

    def __call__(
        self,
        model: Callable[..., Any],
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
        **kwargs: Any,
    ) -> Profile:
        """Count a call of a model and fail the test where it is over a limit; a limit that is far off does no harm.

        Args:
            model: What to call, as for :func:`opflops.count`. What it takes by the names of these arguments, such as
                ``parameters``, can be bound with :func:`functools.partial`.
            *inputs: Its positional arguments.
            macs: How many multiply-accumulates it may take at most.
            flops: How many floating-point operations.
            transcendentals: How many transcendental functions.
            bytes: How much memory traffic, in bytes.
            parameters: How many parameters the model may have.
            backward: Also count the gradients.
            optimizer: Also count gradients and a step; as for :func:`opflops.count`.
            tolerance: By what share a limit may be exceeded: ``"1%"`` or ``0.01``.
            baseline: A file that holds an earlier profile, beside the test's file; ``pytest --opflops-update`` writes
                it. The test fails where a total (macs, flops, transcendentals, bytes) grew.
            fail_above: By what share totals may grow from the baseline.
            allow_unpriced: Whether operators that nothing prices are no failure.
            **kwargs: The model's keyword arguments.

        Returns:
            What was counted.

        Raises:
            ProfileError: There is no limit and no baseline, a limit is none, or the baseline is no profile.
            OpflopsError: It cannot be counted, as from :func:`opflops.count`.
        """
        from opflops.profile import budgets  # noqa: PLC0415 - see above

        limits = {"macs": macs, "flops": flops, "transcendentals": transcendentals, "bytes": bytes}
        everything = {**limits, "parameters": parameters}
        shares = budgets.parse_fraction(tolerance), budgets.parse_fraction(fail_above)
        self._check(model, everything, baseline)
        profile = _counted(model, inputs, kwargs, backward, optimizer)
        counts = {**budgets.totals(profile), "parameters": _parameters(model)}
        over = budgets.exceeded_limits(counts, everything, shares[0])
        told = list(over.values())
        measure = next((name for name in over if name in limits), "macs")
        details = [budgets.format_largest(profile, measure)] if over else []
        if baseline is not None:
            before = self._baseline(self.folder / baseline, profile)
            if growth := budgets.regressions(before, profile, shares[1]):
                told += growth.values()
                details.append(budgets.format_changes(before, profile, next(iter(growth))))
        told += [] if allow_unpriced else budgets.unpriced_messages(profile)
        if told:
            name = getattr(model, "__qualname__", type(model).__name__)
            pytest.fail("\n".join([f"{name} is over its budget:", *told, *details]), pytrace=False)
        return profile

    def _check(self, model: Callable[..., Any], limits: dict[str, float | None], baseline: object) -> None:
        from opflops.errors import ProfileError  # noqa: PLC0415 - see above
        from opflops.profile.budgets import check_limits  # noqa: PLC0415 - see above

        check_limits(limits)
        if baseline is None and all(limit is None for limit in limits.values()):
            raise ProfileError(
                f"flop_budget was given no limit; give one of {', '.join(limits)}, as in macs=4.1e9, or a baseline."
            )
        if limits["parameters"] is not None and not hasattr(model, "parameters"):
            raise ProfileError(f"parameters= limits those of a torch.nn.Module, and {type(model).__name__} is none.")

    def _baseline(self, path: Path, profile: Profile) -> Profile:
        """Read a baseline, or write it."""
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{profile.to_json()}\n", encoding="utf-8")
        if not path.is_file():
            pytest.fail(f"There is no baseline {path}; write it with: pytest {UPDATE}", pytrace=False)
        return type(profile).from_json(path.read_text(encoding="utf-8"))


def _counted(
    model: Callable[..., Any], inputs: tuple[Any, ...], kwargs: dict[str, Any], backward: bool, optimizer: Any
) -> Profile:
    from opflops.counting.count import count  # noqa: PLC0415 - see above
    from opflops.errors import UnpricedOpWarning  # noqa: PLC0415 - see above

    with warnings.catch_warnings():
        # They are a failure of their own, or allowed.
        warnings.simplefilter("ignore", UnpricedOpWarning)
        return count(model, *inputs, backward=backward, optimizer=optimizer, **kwargs)


def _parameters(model: Any) -> int:
    """Count the parameters of a module; those that it shares once."""
    return sum(each.numel() for each in model.parameters()) if hasattr(model, "parameters") else 0
