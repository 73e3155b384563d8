"""Colors and signs: who wants them, what they are on, and that they take no room."""

import io
import re

import pytest
from test_rows import LINEAR, PROFILE

from opflops import Cost, Profile, Row
from opflops.report import overview
from opflops.report.text.color import wants_color
from opflops.report.text.terminal import draw_bar, elide, to_encodable, width_of

ESCAPE = re.compile(r"\x1b\[[\d;]*m")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Gone:
    def isatty(self):
        raise ValueError


@pytest.mark.parametrize(
    ("stream", "environ", "wanted"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"TERM": "xterm-256color"}, True),
        (io.StringIO(), {}, False),
        (None, {}, False),
        (Gone(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        # https://no-color.org: when present and not an empty string.
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True),
        (io.StringIO(), {"CLICOLOR_FORCE": "0"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_color_is_for_terminals_that_want_it(stream, environ, wanted):
    """The environment decides first."""
    assert wants_color(stream, environ) is wanted


def test_reports_have_no_color_unless_asked(monkeypatch):
    """They may end in files, whatever the output is."""
    monkeypatch.setattr("sys.stdout", Terminal())
    assert not ESCAPE.search(str(PROFILE) + PROFILE.table())


@pytest.mark.parametrize("tablefmt", ["simple", "grid", "rounded_outline", "plain"])
@pytest.mark.parametrize("columns", [None, "calls,flops,%,bar"])
def test_color_takes_no_room(tablefmt, columns):
    """Without its codes the report is the one without color."""
    options = {"tablefmt": tablefmt, "columns": columns, "width": 100}
    colored = PROFILE.table(color=True, **options)
    assert ESCAPE.search(colored)
    bare = [line.rstrip() for line in ESCAPE.sub("", colored).splitlines()]
    assert bare == [line.rstrip() for line in PROFILE.table(**options).splitlines()]


def test_markup_has_no_color():
    """Programs read it."""
    assert not ESCAPE.search(PROFILE.table(color=True, tablefmt="github"))


def test_modules_stand_out_and_operators_step_back():
    """Bold and dim; the largest shares are red, the least are dim."""
    rows = [Row(f"Net.{n}", n.upper(), "aten.mm", "forward", "float32", 1, Cost(m)) for n, m in (("a", 999), ("b", 1))]
    lines = Profile(rows).table(color=True, width=100).splitlines()
    assert lines[3].startswith("\x1b[1m  a (A)")
    assert lines[4].startswith("\x1b[2m    aten.mm")
    assert "\x1b[1;31m 99.9\x1b[0m" in lines[3]
    assert "\x1b[2m  0.1\x1b[0m" in lines[5]


def test_bars_are_drawn_on_terminals_where_there_is_room(monkeypatch):
    """Not into files, and not in place of numbers."""
    text = PROFILE.table(width=100)
    assert "█" not in text
    assert "█" in PROFILE.table(width=100, bar=True)
    assert "█" not in PROFILE.table(width=50, bar=True)
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.delenv("TERM", raising=False)
    assert "█" in PROFILE.table(width=100)
    assert "█" in overview(PROFILE.rows, width=100)
    assert "█" not in PROFILE.table(width=100, bar=False)
    assert "█" not in PROFILE.table(tablefmt="github")
    monkeypatch.setenv("TERM", "dumb")
    assert "█" not in PROFILE.table(width=100)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, ""), (1, "████"), (2, "████"), (-1, ""), (0.5, "██"), (0.25, "█"), (1 / 32, "▏"), (0.01, "")],
)
def test_bars_are_as_long_as_the_share(share, text):
    """To an eighth of a character."""
    assert draw_bar(share, 4) == text


def test_an_output_without_such_signs_gets_ascii(monkeypatch):
    """Each is one character as before, so that columns stay in line."""
    repeated = Profile([Row(f"Net.{n}", "", "aten.mm", "forward", "float32", 1, Cost(macs=10)) for n in (0, 1)])
    table = repeated.table(width=100, bar=True)
    plain = to_encodable(table, "ascii")
    assert plain.isascii()
    assert "0-1 x2" in plain
    assert "####" in plain
    assert list(map(len, plain.splitlines())) == list(map(len, table.splitlines()))
    assert to_encodable(table, "utf-8") == table
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert repeated.table(width=100, bar=True) == plain
    assert str(repeated).isascii()


def test_wide_characters_count_twice():
    """As terminals show them: a name of two such characters takes four columns, an accent none."""
    assert [width_of(text) for text in ("conv", "卷积", "e\u0301", "🔥")] == [4, 4, 1, 2]
    assert elide("卷积卷积卷积", 7) == "卷积…积"
    assert width_of(elide("卷积卷积卷积", 7)) <= 7
    rows = [LINEAR, Row("Net.卷积层", "卷积", "aten.convolution", "forward", "float32", 1, Cost(macs=7))]
    lines = [
        line for line in Profile(rows).table(width=100).splitlines() if line.endswith(("0.0", "%")) or "---" in line
    ]
    assert len({width_of(line) for line in lines}) == 1
