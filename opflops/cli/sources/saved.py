"""``saved.json``: a profile that ``--format json`` or :meth:`opflops.Profile.save` wrote, also compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.errors import ProfileError, TargetError
from opflops.profile.profile import Profile
from opflops.report.files.saved_profiles import load_text

if TYPE_CHECKING:
    from opflops.cli.sources import ModelRequest


def find(text: str, _: ModelRequest) -> Profile:
    """Read a profile.

    Raises:
        TargetError: The file does not exist, or contains no profile.
    """
    try:
        if (profile := Profile.load_in_pieces(text)) is not None:
            return profile
        content = load_text(text)
    except ProfileError as error:
        raise TargetError(str(error)) from error
    try:
        return Profile.from_json(content)
    except ProfileError as error:
        hint = f" For a model's configuration, write hf:{text}." if '"model_type"' in content else ""
        raise TargetError(f"{text}: {error}{hint}") from error
