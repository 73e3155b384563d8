"""How objects and texts show themselves in notebooks and at prompts.

A notebook asks the object in the last line of a cell for HTML, and the object asks the renderer of notebooks, which is
:mod:`opflops.report.notebook`. Objects of all packages do so, also of those below ``report``; this file is the only
place that imports it by name, and only when a notebook asks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import MISSING, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PLAIN, HTML = "text/plain", "text/html"


def repr_html(shown: Any) -> str:
    """Write an object as static HTML for a notebook: without scripts, below 100 kB, in light and dark."""
    return str(import_module("opflops.report.notebook").to_notebook_html(shown))


def repr_mimebundle(
    shown: Any, include: Collection[str] | None = None, exclude: Collection[str] | None = None
) -> dict[str, str]:
    """Return what ``print`` shows, and the HTML for a notebook, by MIME type.

    Args:
        shown: The object.
        include: The types that are wanted; all by default.
        exclude: Types that are not.
    """
    wanted = [each for each in (PLAIN, HTML) if _is_wanted(each, include, exclude)]
    return {each: str(shown) if each == PLAIN else repr_html(shown) for each in wanted}


def repr_text(
    shown: Any, include: Collection[str] | None = None, exclude: Collection[str] | None = None
) -> dict[str, str]:
    """Return what ``print`` shows of an object that is a sentence or two, for notebooks and IPython."""
    return {PLAIN: str(shown)} if _is_wanted(PLAIN, include, exclude) else {}


def _is_wanted(mime: str, include: Collection[str] | None, exclude: Collection[str] | None) -> bool:
    return (not include or mime in include) and mime not in (exclude or ())


def brief_repr(shown: Any) -> str:
    """Write the call that makes a dataclass or a named tuple, without the arguments that are as by default.

    >>> from opflops import Cost
    >>> Cost(macs=10, bytes_read=8), Cost()
    (Cost(macs=10, bytes_read=8), Cost())
    """
    if isinstance(shown, tuple):
        defaults: dict[str, Any] = {name: shown._field_defaults.get(name, MISSING) for name in shown._fields}  # type: ignore[attr-defined]
    else:
        defaults = {
            each.name: each.default if each.default_factory is MISSING else each.default_factory()
            for each in fields(shown)
        }
    given = {name: getattr(shown, name) for name in defaults}
    written = [
        f"{name}={value!r}" for name, value in given.items() if defaults[name] is MISSING or value != defaults[name]
    ]
    return f"{type(shown).__name__}({', '.join(written)})"


class Displayed:
    """Let notebooks show an object as HTML, and IPython as ``print`` does."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return repr_html(self)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        return repr_mimebundle(self, include, exclude)


class ReportText(str):
    r"""Be the text of a report, which notebooks and prompts show as ``print`` does, and not in quotes.

    In all else it is a ``str``: it equals one, and hashes, slices, joins and is written to JSON as one.

    >>> ReportText("params  3\nflops  6")
    params  3
    flops  6
    >>> ReportText("a") == "a", ReportText("ab")[0]
    (True, 'a')
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return repr_html(self)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        return repr_mimebundle(self, include, exclude)

    def __repr__(self) -> str:
        return str(self)


class HtmlText(ReportText):
    """Be a table in HTML, which notebooks show as one."""

    __slots__ = ()


class PageText(str):
    """Be an HTML page to write to a file, of which notebooks show how long it is and how to write it."""

    __slots__ = ()

    def describe(self) -> str:
        """Say in a sentence what to do with it."""
        size = f"An HTML page of {len(self) / 1000:,.0f} kB."
        return f"{size} To write it: Path('profile.html').write_text(page, encoding='utf-8')."

    def __repr__(self) -> str:
        return f"<{self.describe()}>"

    def _repr_html_(self) -> str:
        return repr_html(self)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        return {PLAIN: self.describe()} if _is_wanted(PLAIN, include, exclude) else {}


class Verdicts(dict[str, str]):
    """Be a dict of how operators are priced. Notebooks show it as lists, one for each verdict; prompts count them."""

    __slots__ = ()

    def __repr__(self) -> str:
        numbers = ", ".join(f"{number:,} {verdict}" for verdict, number in Counter(self.values()).most_common())
        return f"<{len(self):,} operators: {numbers or 'none'}>"

    def _repr_html_(self) -> str:
        return repr_html(self)


class Costs(dict[Any, Any]):
    """Be a dict of costs by group, which notebooks show as a table.

    In all else it is a ``dict``; what makes others of it, such as ``|``, gives plain ones.

    Attributes:
        heading: What the keys are, such as ``"module / phase"``.
    """

    __slots__ = ("heading",)

    def __init__(self, costs: Iterable[tuple[Any, Any]] = (), heading: str = "") -> None:
        super().__init__(costs)
        self.heading = heading

    def __reduce__(self) -> tuple[Any, ...]:
        return Costs, ([*self.items()], self.heading)

    def _repr_html_(self) -> str:
        return repr_html(self)
