"""Read the tables and sentences of a report back from its text, as a reader would, without the code that wrote them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

RULE = re.compile(r"-+(  -+)*")
PREFIXES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
SCALED = re.compile(r"([+-]?[\d,]+(?:\.\d+)?) ?([kMGTPE]?)")
HIDDEN = "Hidden because the terminal is narrow: "


@dataclass
class Table:
    """Hold a table: the header of its labels, its columns by header, and the indented label of each line."""

    heading: str
    headers: list[str]
    labels: list[str]
    cells: list[list[str]]
    total: list[str] | None

    def column(self, header):
        return [line[self.headers.index(header)] for line in self.cells]

    @property
    def depths(self):
        return [(len(label) - len(label.lstrip())) // 2 for label in self.labels]

    def leaves(self):
        """Return the positions of the lines that have none below them."""
        depths = [*self.depths, 0]
        return [position for position in range(len(self.labels)) if depths[position + 1] <= depths[position]]

    def children(self, parent):
        """Return the positions of the lines right below one; of the outermost lines for None."""
        depths = self.depths
        if parent is None:
            return [position for position, depth in enumerate(depths) if depth == 0]
        found = []
        for position in range(parent + 1, len(depths)):
            if depths[position] <= depths[parent]:
                break
            if depths[position] == depths[parent] + 1:
                found.append(position)
        return found


def read(text):
    """Return the tables, and the sentences around them as one string. Fails if a line is not aligned with its rule."""
    lines = text.splitlines()
    tables, sentences, start = [], [], 0
    while start < len(lines):
        end = next((number for number in range(start, len(lines)) if not lines[number].strip()), len(lines))
        block, start = lines[start:end], end + 1
        rule = next((number for number, line in enumerate(block) if RULE.fullmatch(line)), None)
        if rule is None:
            sentences += block
        else:
            tables.append(_read_table(block, rule))
    return tables, " ".join(sentences)


def _read_table(block, rule):
    spans = [match.span() for match in re.finditer("-+", block[rule])]
    header = [_split(line, spans) for line in block[:rule]]
    names = [_join([line[number].strip() for line in header]) for number in range(len(spans))]
    body = block[rule + 1 :]
    marks = [number for number, line in enumerate(body) if RULE.fullmatch(line)]
    assert len(marks) <= 1, block
    found = [_split(line, spans) for line in body if not RULE.fullmatch(line)]
    for line in found:
        for cell, (first, last) in zip(line[1:], spans[1:], strict=True):
            assert not cell.strip() or cell == cell.strip().rjust(last - first), line
    total = found.pop() if marks else None
    assert not marks or marks[0] == len(body) - 2, block
    cells = [[cell.strip() for cell in line[1:]] for line in found]
    return Table(names[0], names[1:], [line[0].rstrip() for line in found], cells, total and [c.strip() for c in total])


def _split(line, spans):
    """Split a line at the columns of a rule; fails where text stands between them."""
    gaps = [(last, first) for (_, last), (first, _) in pairwise(spans)]
    assert not any(line[last:first].strip() for last, first in gaps), line
    assert len(line) <= spans[-1][1], line
    return [line[first:last].ljust(last - first) for first, last in spans]


def _join(parts):
    """Join the lines of a header; some are broken after punctuation, others at a space."""
    text = ""
    for part in filter(None, parts):
        text += part if not text or text[-1] in "_-:./" else f" {part}"
    return text


def number(text, sizes=()):
    """Read a number, exact or with a prefix; a formula at sizes of its dimensions. None for what is none."""
    found = SCALED.fullmatch(text.lstrip("*"))
    if found:
        return float(found[1].replace(",", "")) * PREFIXES[found[2]]
    if sizes and re.fullmatch(r"[\w*+\- ()/]+", text):
        return float(eval(text, {"__builtins__": {}}, dict(sizes)))  # noqa: S307 - a formula of letters and digits
    return None


def hidden_columns(sentences, tables):
    """Return the columns that a report says are hidden: pairs of a table's number and a header."""
    found = re.search(rf"{HIDDEN}((?:[^.(]|\([^)]*\))*)\.", sentences)
    if not found:
        return set()
    pairs = set()
    for name, named in re.findall(r"([^,(]+?)(?: \(in the tables? by ([^)]*)\))?(?:, |$)", found[1]):
        keys = set(re.split(r", | and ", named)) if named else None
        pairs |= {
            (position, name)
            for position, table in enumerate(tables)
            if (keys is None or re.split(r" / |:", table.heading)[0] in keys) and name not in table.headers
        }
    return pairs
