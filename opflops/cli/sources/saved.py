"""``saved.json``: a profile that ``--format json`` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opflops.errors import ProfileError, TargetError
from opflops.profile.profile import Profile
from opflops.wording import format_error, nearest

if TYPE_CHECKING:
    from opflops.cli.sources import ModelRequest


def find(text: str, _: ModelRequest) -> Profile:
    """Read a profile.

    Raises:
        TargetError: The file does not exist, or contains no profile.
    """
    path = Path(text).expanduser()
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = nearest(path.name, [each.name for each in path.parent.glob("*.json")]) if path.parent.is_dir() else []
        raise TargetError(f"There is no file {text!r}{f'; did you mean {near[0]}?' if near else '.'}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{text} cannot be read: {format_error(error)}.") from error
    try:
        return Profile.from_json(content)
    except ProfileError as error:
        hint = f" For a model's configuration, write hf:{text}." if '"model_type"' in content else ""
        raise TargetError(f"{text}: {error}{hint}") from error
