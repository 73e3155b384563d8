"""``saved.json``: a profile that ``--format json`` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opflops.errors import ProfileError, TargetError
from opflops.profile.profile import Profile
from opflops.wording import format_error, nearest

if TYPE_CHECKING:
    from opflops.cli.sources import Asked


def find(text: str, _: Asked) -> Profile:
    """Read a profile.

    Raises:
        TargetError: There is no such file, or it holds no profile.
    """
    path = Path(text).expanduser()
    try:
        written = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = nearest(path.name, [each.name for each in path.parent.glob("*.json")]) if path.parent.is_dir() else []
        raise TargetError(f"There is no file {text!r}{f'; did you mean {near[0]}?' if near else '.'}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{text} cannot be read: {format_error(error)}.") from error
    try:
        return Profile.from_json(written)
    except ProfileError as error:
        hint = f" A model's configuration is written hf:{text}." if '"model_type"' in written else ""
        raise TargetError(f"{text}: {error}{hint}") from error
