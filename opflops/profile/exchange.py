"""Profiles as files and data frames, for other programs and later sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.example_counts import modules_at_example, rows_at_example
from opflops.profile.method_advice import advise, check_json_name
from opflops.records.arguments import explain_methods, keys_of

if TYPE_CHECKING:
    import os

    from opflops.profile.profile import Profile
    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row

# What writes and reads is imported when it is needed, which keeps import opflops fast.


@explain_methods(advise, ProfileArgumentError)
class Exchange:
    """Add files and data frames to a profile, the subclass that holds the data."""

    rows: tuple[Row, ...]
    modules: tuple[ModuleRecord, ...]
    memory: Memory | None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile to a file as JSON, without loss; :meth:`load` reads it, and so does ``opflops FILE``.

        The file is written completely or not at all. Its content is that of :meth:`opflops.Profile.to_json`.

        Args:
            path: The name of the file; if it ends in ``.gz``, as ``profile.json.gz`` does, the file is compressed.

        Raises:
            ProfileError: The file cannot be written, or its suffix is that of another format; the message says why.
        """
        check_json_name(path)
        from opflops.report.files.codec import pieces  # noqa: PLC0415 - see above
        from opflops.report.files.saved_profiles import save_text  # noqa: PLC0415 - see above

        save_text(pieces(cast("Profile", self)._document()), path)  # noqa: SLF001 - a class that this one is part of

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile from a file that :meth:`save` or ``opflops TARGET -o FILE.json`` wrote, compressed or not.

        Raises:
            ProfileError: There is no such file, or it has no profile, or one with a newer schema version.
        """
        from opflops.report.files.saved_profiles import load_text  # noqa: PLC0415 - see above

        if (read := cls.load_in_pieces(path)) is not None:
            return read
        text = load_text(path)
        try:
            return cast("type[Profile]", cls).from_json(text)
        except ProfileError as error:
            raise ProfileError(f"{str(path)!r} cannot be read: {error}") from error

    @classmethod
    def load_in_pieces(cls, path: str | os.PathLike[str]) -> Profile | None:
        """Read a file that is as :meth:`save` would have written it; None for any other. For internal use."""
        from opflops.report.files.reading import load_pieces  # noqa: PLC0415 - see above
        from opflops.report.files.saved_profiles import UNREADABLE, read_pieces  # noqa: PLC0415 - see above

        try:
            read = load_pieces(read_pieces(path))
        except UNREADABLE:
            return None
        return None if read is None else cast("type[Profile]", cls)._from_document(**read)  # noqa: SLF001 - as above

    def to_dataframe(self, by: str | tuple[str, ...] | None = None, *, backend: str = "pandas") -> Any:
        """Return the profile as a data frame: a line for each row, group or module.

        Every frame has its columns whatever the profile has, also if it is empty:

        - A line for each of :attr:`rows`, in their order: ``module``, ``module_type``, ``op``, ``phase``, ``dtype``,
          ``calls``, the costs ``macs``, ``ops``, ``flops``, ``transcendentals``, ``bytes_read``, ``bytes_written``,
          ``bytes`` and ``sent``, then ``seconds``, ``spread``, ``activations``, ``estimate``, ``priced``, ``group`` and
          ``rank``, as in :class:`opflops.Row`. Integer and bool rows are among them, which totals leave out: totals
          are those of the lines whose ``dtype`` begins with ``float``, ``bfloat`` or ``complex``.
        - With keys, a line for each group of :meth:`opflops.Profile.by`, with floating-point work alone and, for
          modules, without that of the modules below: the keys, then ``calls``, the costs, ``seconds``, ``spread`` and
          ``activations``. Columns add up to the totals.
        - With ``by="modules"``, a line for each module as in ``to_csv("modules")``: calls, parameters, buffers, shapes,
          its own work and its memory, with ``bytes``.

        Numbers are int64, those that may be missing (as ``rank`` and ``peak``) pandas' nullable Int64, and times
        float64, with NaN (in polars null) if there are none. A column in which a count is an expression, or beyond
        int64, has Python objects: nothing is rounded. Expressions are sympy's.

        >>> import torch
        >>> from opflops import count
        >>> p = count(torch.nn.Linear(4, 3), torch.ones(2, 4))
        >>> p.to_dataframe(by="op")[["op", "calls", "macs"]]  # doctest: +SKIP
                   op  calls  macs
        0      aten.t      1     0
        1  aten.addmm      1    24

        Args:
            by: None for rows; a key of rows as for :meth:`opflops.Profile.by`, or a tuple of keys, for groups;
                ``"modules"`` for modules.
            backend: ``"pandas"`` or ``"polars"``.

        Raises:
            MissingExtraError: The package is not installed; the message says how to install it.
            ProfileError: A key or the backend is unknown.
        """
        from opflops.report.files.frames import make_frame, modules_frame, rows_frame  # noqa: PLC0415 - see above

        keys, rows = None if by is None else keys_of(by, "to_dataframe()"), rows_at_example(self.rows)
        if keys == ("modules",):
            return make_frame(modules_frame(rows, modules_at_example(self.modules), self.memory), backend)
        return make_frame(rows_frame(rows, keys), backend)
