"""Make layers fewer: equal blocks are one, and what is deep, or comes late, is folded."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from itertools import repeat
from typing import TYPE_CHECKING, Any

from opflops.report.files.layers import END, START, Layer, all_layers, changed, without_list
from opflops.report.text.collapse import format_ranges, split_number, work_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence

_MIN_REPEATS = 2
_MIN_PATTERN_REPEATS = 3
_MAX_PATTERN_LENGTH = 16
_FEW, _MIN_KEPT = 10, 3


def count_levels(several: Iterable[Layer]) -> int:
    """Count the levels of layers below the outermost ones."""
    levels, level = -1, [*several]
    while level:
        levels += 1
        below: list[Layer] = []
        for layer in level:
            for child in layer.shown:
                # A series is no level.
                below += child.shown if child.in_turn else [child]
        level = below
    return max(levels, 0)


def fold(top: Layer, unfolded: Collection[int], kept: Mapping[int, int] | None = None) -> Layer:
    """Fold layers into the layer above them, which says so, unless the identity of that one is given.

    Args:
        top: What holds the outermost layers.
        unfolded: The identities of layers that are shown with those right below them.
        kept: How many of these are kept, by the identity of such a layer; the others are one.
    """
    kept = kept or {}
    # Those below a layer are folded before it; without recursion, so that depth has no limit.
    order = [top]
    for above in order:
        # A series is no module, and its blocks are shown with it.
        order += [layer for layer in above.children if layer.in_turn or id(layer) in unfolded]
    made: dict[int, Layer] = {}
    for above in reversed(order):
        children = [
            made[id(layer)] if id(layer) in made else changed(layer, is_folded=bool(layer.children))
            for layer in above.children
        ]
        folded = changed(above, children=children)
        made[id(above)] = keep_first(folded, kept[id(above)]) if id(above) in kept else folded
    return made[id(top)]


def keep_first(above: Layer, kept: int) -> Layer:
    """Keep the first children of a layer, and fold the others into one."""
    others = above.children[kept:]
    if not others:
        return above
    number = sum(layer.repeats for layer in others)
    name = f"{number} more" if kept else f"{number} together"
    rest = Layer(name, above.path, children=others, is_folded=True, is_rest=True)
    children = [*above.children[:kept], rest]
    places = [(min(place, kept), 0, 0) for place in range(len(above.children))]
    return changed(above, children=children, links=_move_links(above.links, children, places))


def layers_to_depth(top: Layer, depth: int) -> Iterator[Layer]:
    """List the layers with others inside down to a depth: those to unfold in order to show it."""
    waiting = [(layer, 0) for layer in top.children]
    while waiting:
        layer, level = waiting.pop()
        if layer.children and (layer.in_turn or level < depth):
            yield layer
            waiting += [(child, level + (not layer.in_turn)) for child in layer.children]


def unfold_largest(
    top: Layer, unfolded: Collection[int], fits: Callable[[Layer], bool], size: Callable[[Layer], Any]
) -> Layer:
    """Unfold layers one by one, the largest first, while the result fits.

    If that shows little, since one has many layers below it, the first of these are shown.

    Args:
        top: What holds the outermost layers.
        unfolded: The identities of those that are unfolded before.
        fits: Tells whether the result is small enough.
        size: Returns the size of a layer, of all blocks.
    """
    shown = {*unfolded}
    best = fold(top, shown)
    waiting: list[tuple[Layer, int]] = []
    too_large: list[Layer] = []

    def offer(layer: Layer, repeats: int) -> None:
        """Offer to unfold what is folded in a layer that is shown."""
        for child in layer.children:
            if child.in_turn or id(child) in shown:
                offer(child, repeats * child.repeats)
            elif child.children:
                waiting.append((child, repeats))

    offer(top, 1)
    while waiting:
        chosen = max(waiting, key=lambda each: size(each[0]) * each[1])
        waiting.remove(chosen)
        layer, times = chosen
        folded = fold(top, {*shown, id(layer)})
        if fits(folded):
            best = folded
            shown.add(id(layer))
            offer(layer, times * layer.repeats)
        else:
            too_large.append(layer)
    if too_large and sum(1 for _ in all_layers(best.shown)) < _FEW:
        layer = too_large[0]

        def show(kept: int) -> Layer:
            return fold(top, {*shown, id(layer)}, {id(layer): kept})

        kept = bisect_left(range(len(layer.children) - 1), x=True, key=lambda number: not fits(show(number + 1)))
        if kept >= _MIN_KEPT:
            return show(kept)
    return best


def merge_repeats(top: Layer, facts: Mapping[str, Hashable] | None = None) -> Layer:
    """Merge consecutive blocks that are equal except for a number in their names, at all levels.

    Blocks are equal if they have the same class, did the same work, as in tables, and data flows in the same way inside
    them. Blocks that alternate at least three times between some forms become a series.

    Args:
        top: What holds the outermost layers.
        facts: What else must be equal, by path.
    """
    facts = facts or {}
    known: dict[Hashable, int] = {}
    merged: dict[int, tuple[Layer, int]] = {}
    # Those below a layer come first; without recursion, so that depth has no limit.
    for layer in reversed([top, *all_layers(top.children)]):
        children = [merged.pop(id(each)) for each in layer.children]
        block = _merge_series(layer, children)
        below = tuple(("" if each.is_self else each.name, number) for each, number in children)
        told = (block.module_type, block.is_self, block.part != (1, 1), block.calls, facts.get(block.path))
        key = (
            told,
            block.is_again,
            tuple(layer.links_past_others()),
            work_key(repeat("", len(block.rows)), block.rows),
            below,
        )
        number = known.setdefault(key, len(known))
        merged[id(layer)] = block, number
        _ = block.all_costs, block.all_unpriced, block.inside
    whole, _ = merged[id(top)]
    for layer in all_layers(whole.children):
        layer.children[:] = map(without_list, layer.children)
    return whole


def _merge_series(layer: Layer, numbered: Sequence[tuple[Layer, int]]) -> Layer:
    """Merge the children of a layer."""
    keys = [_series_key(block, number) for block, number in numbered]
    children: list[Layer] = []
    # Of each child its place among the new ones, and its repetition and column if that is a series.
    places: list[tuple[int, int, int]] = []
    while len(places) < len(keys):
        position = len(places)
        period, repeats = _series_at(keys, position)
        blocks = [block for block, _ in numbered[position : position + period * repeats]]
        columns = [blocks[0]] if repeats == 1 else [_merge_blocks(blocks[start::period]) for start in range(period)]
        places += [(len(children), number // period, number % period) for number in range(len(blocks))]
        if period == 1 and blocks[-1].is_again:
            children.append(replace(blocks[0], in_a_row=repeats))
        elif period == 1:
            children.append(replace(columns[0], repeats=repeats))
        else:
            children.append(Layer("in turn", blocks[0].path, children=columns, repeats=repeats, in_turn=True))
    return replace(layer, children=children, links=_move_links(layer.links, children, places))


def _move_links(
    links: Iterable[tuple[int, int]], children: Sequence[Layer], places: Sequence[tuple[int, int, int]]
) -> set[tuple[int, int]]:
    """Let links lead from and to the new children. What leads from one repetition to another leaves and enters them."""
    moved = set()
    for source, target in links:
        place_before, *before = (source, 0, 0) if source == START else places[source]
        place_after, *after = (target, 0, 0) if target == END else places[target]
        if place_before != place_after:
            moved.add((place_before, place_after))
        elif before[0] == after[0]:
            if children[place_before].in_turn:
                children[place_before].links.add((before[1], after[1]))
            continue
        if source != START and children[place_before].in_turn:
            children[place_before].links.add((before[1], END))
        if target != END and children[place_after].in_turn:
            children[place_after].links.add((START, after[1]))
    return moved


def _series_at(keys: Sequence[Hashable], start: int) -> tuple[int, int]:
    """Return the period and the number of repeats of the longest series from a position on."""
    best = 1, 1
    for period in range(1, min(_MAX_PATTERN_LENGTH, len(keys) - start) + 1):
        length = period
        while start + length < len(keys) and keys[start + length] == keys[start + length - period]:
            length += 1
        repeats = length // period
        min_repeats = _MIN_REPEATS if period == 1 else _MIN_PATTERN_REPEATS
        if repeats >= min_repeats and repeats * period > best[0] * best[1]:
            best = period, repeats
    return best


def _merge_blocks(blocks: Sequence[Layer]) -> Layer:
    if blocks[-1].is_again:
        # All are one module, of which the first place has the cost.
        return blocks[0] if blocks[0].is_again else replace(blocks[0], in_all=True)
    names = [name for name in (split_number(block.name) for block in blocks) if name is not None]
    return replace(blocks[0], name=format_ranges(names))


def _series_key(block: Layer, number: int) -> Hashable:
    """Return a key that is equal for blocks of one series, and unique for other layers."""
    name = None if block.is_self else split_number(block.name)
    if block.is_again or (name is None and block.runs_again and not block.children):
        return block.path, block.is_self, frozenset(block.ops)
    if name is None:
        return id(block)
    return name.before, name.after, block.path.rpartition(".")[0], number


def first_layers(outermost: Layer, max_layers: int) -> tuple[str, Layer]:
    """Keep the first layers below the root, or the first of several roots, and fold the others into one.

    Returns:
        A note that says so, and what holds the layers.
    """
    (first, *others) = outermost.children
    single = not others and bool(first.children)
    above = keep_first(fold(first if single else outermost, ()), max(max_layers - 2, 0))
    below = "Modules deeper than level 1" if single else "Modules below the outermost"
    note = f"{below} are folded, and {above.children[-1].name} are one. print(profile) and to_html() show all."
    return note, replace(outermost, children=[above]) if single else above
