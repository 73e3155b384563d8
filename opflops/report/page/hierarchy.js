// The icicle and the treemap: the part of the tree below one node, as far as there is room. Sectors that are too small to
// see are merged, so that plotly stays fast with any number of modules.

const LEVELS = { icicle: 6, treemap: 3 };
const MAIN_CHILD_SHARE = 0.7; // a child with a larger share of its treemap module takes no level of its own
const ZOOM_MILLISECONDS = 280;
const MIN_SHARE = 0.002; // of the drawn root: about two pixels
const MIN_TEXT_WIDTH = 20; // pixels; members of a fold that are narrower are drawn as one
const TEXT_MARGIN = 8; // pixels, of both sides of a sector
const TEXT_SIZE = 12;
const MIN_LETTERS = 8; // of a shortened name
const FADED = 0.75; // how much of the background there is in what a search does not find
const CHART_CONFIG = { displayModeBar: false, displaylogo: false };

class Hierarchy {
  /** @param on the callback: pick(node) */
  constructor(element, profile, facts, colors, on) {
    Object.assign(this, { element, profile, facts, colors, on, kind: "icicle" });
  }

  /** Draws the part of the tree below a node, with the selected node outlined. */
  draw({ totals, measure, root, selected, search, theme }) {
    const { profile } = this;
    this.search = search;
    const negative = this.hasNegative(totals, measure, root);
    if (negative || !(totals.value(measure, root) > 0)) {
      const { label } = MEASURES[measure];
      this.showMessage(negative ? `Some ${label} here are below zero and cannot be drawn as areas.` : `No ${label} here.`);
      return;
    }
    const before = this.root;
    this.root = root;
    const sectors = this.sectors(totals, measure, root, theme);
    const outlined = this.nearest(selected, sectors);
    const trace = {
      type: this.kind,
      ids: sectors.map((each) => each.id),
      labels: sectors.map((each) => escaped(each.label)),
      parents: sectors.map((each) => each.parent),
      values: sectors.map((each) => each.value),
      text: sectors.map((each) => this.words(each, each.value / sectors[0].value)),
      customdata: sectors.map((each) => each.hover),
      branchvalues: "total",
      sort: this.kind === "treemap",
      texttemplate: "%{text}",
      hovertemplate: "%{customdata}<extra></extra>",
      leaf: { opacity: 1 },
      pathbar: { visible: false },
      tiling: this.kind === "icicle" ? { orientation: "v", pad: 1 } : { packing: "squarify", pad: 2 },
      marker: {
        colors: sectors.map((each) => each.color),
        line: {
          width: sectors.map((each) => (each.id === outlined ? 3 : 0.5)),
          color: sectors.map((each) => (each.id === outlined ? theme.ink : theme.panel)),
        },
      },
      textfont: { color: sectors.map((each) => readable(each.color)) },
      outsidetextfont: { color: theme.ink },
    };
    if (this.kind === "treemap") trace.marker.pad = { t: 20, l: 3, r: 3, b: 3 };
    const layout = { ...themedLayout(theme), width: this.element.clientWidth, height: this.element.clientHeight, uniformtext: { minsize: 11, mode: "hide" } };
    this.element.classList.remove("message");
    this.element.setAttribute("aria-label", this.describe(sectors, totals, measure, root));
    this.zoomed(before, root, trace, layout);
    if (!this.listening) {
      this.listening = true;
      for (const name of ["plotly_icicleclick", "plotly_treemapclick"]) {
        this.element.on(name, (event) => {
          this.clicked(event.points[0].id);
          return false;
        });
      }
    }
  }

  /** Draws; animates a zoom in or out unless the reader prefers reduced motion. */
  zoomed(before, root, trace, layout) {
    const { element } = this;
    const turn = (this.turn = {});
    const put = () => turn === this.turn && Plotly.react(element, [trace], layout, CHART_CONFIG);
    const shown = this.listening ? element.data[0] : null;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches || before === root;
    if (still || shown?.type !== trace.type) {
      put();
      return;
    }
    const move = () => {
      const options = {
        frame: { redraw: false, duration: ZOOM_MILLISECONDS },
        transition: { duration: ZOOM_MILLISECONDS, easing: "cubic-in-out" },
        mode: "immediate",
        fromcurrent: true,
      };
      return Plotly.animate(element, { data: [{ level: String(root) }], traces: [0] }, options).then(put, put);
    };
    if (shown.ids.includes(String(root))) move();
    else if (trace.ids.includes(String(before))) {
      Plotly.react(element, [{ ...trace, level: String(before) }], layout, CHART_CONFIG).then(move);
    } else put();
  }

  /** Writes the text that fits into a sector: its name, shortened if need be, and its number. */
  words({ label, text }, part) {
    const { clientWidth, clientHeight } = this.element;
    const width = this.kind === "icicle" ? part * clientWidth : Math.sqrt(part * clientWidth * clientHeight);
    if (width < MIN_TEXT_WIDTH) return "";
    const room = width - TEXT_MARGIN;
    const name = this.shortened(label, room);
    return this.textWidth(text) <= room ? `${escaped(name)}<br>${text}` : escaped(name);
  }

  /** Returns a text or as much of it as has room; "" if that is not enough to tell what it is. */
  shortened(text, room) {
    if (this.textWidth(text) <= room) return text;
    let length = Math.min(text.length, Math.floor((text.length * room) / this.textWidth(text)));
    while (length > 0 && this.textWidth(`${text.slice(0, length)}…`) > room) length -= 1;
    return length < MIN_LETTERS ? "" : `${text.slice(0, length)}…`;
  }

  textWidth(text) {
    if (!this.pen) {
      this.pen = document.createElement("canvas").getContext("2d");
      this.pen.font = `${TEXT_SIZE}px ${getComputedStyle(document.body).fontFamily}`;
      this.widths = new Map();
    }
    if (!this.widths.has(text)) this.widths.set(text, this.pen.measureText(text).width);
    return this.widths.get(text);
  }

  /** Tells whether a search neither finds a node, nor anything below it, nor what it is in. */
  isFaded(node) {
    const { search, profile } = this;
    if (!search || node === EVERYTHING || search.leadsToMatch[node]) return false;
    return !profile.ancestry(node).some((each) => search.found[each]);
  }

  hasNegative(totals, measure, root) {
    const left = [...this.profile.below(root)];
    while (left.length) {
      const node = left.pop();
      if (totals.value(measure, node) < 0) return true;
      for (const child of this.profile.below(node)) left.push(child);
    }
    return false;
  }

  showMessage(words) {
    Plotly.purge(this.element);
    this.listening = false;
    this.turn = null;
    this.element.replaceChildren(words);
    this.element.classList.add("message");
    this.element.setAttribute("aria-label", words);
  }

  clicked(id) {
    const node = parseInt(id, 10);
    if (Number.isInteger(node)) this.on.pick(node);
  }

  /**
   * Lists the sectors to draw, parents first. A sector may stand for several nodes, of which it has the sum: equal blocks
   * that would be too narrow for a word are drawn as one, as are their parts.
   */
  sectors(totals, measure, root, theme) {
    const { profile } = this;
    const whole = totals.value(measure, EVERYTHING);
    const drawn = totals.value(measure, root);
    const sum = (nodes) => nodes.reduce((one, node) => one + totals.value(measure, node), 0);
    const found = [];
    const add = (nodes, parent, level) => {
      const [node] = nodes;
      const value = sum(nodes);
      const label = node === EVERYTHING ? "Total" : profile.name[node];
      const color = this.colors.of(node, theme);
      found.push({
        id: String(node),
        node,
        parent,
        label,
        value,
        text: amount(measure, value),
        hover: nodes.length > 1 ? this.hoverOfSeveral(nodes, value, measure, whole) : this.hover(node, totals, measure, whole),
        color: nodes.every((each) => this.isFaded(each)) ? mixed(color, theme.panel, FADED) : color,
      });
      if (level === LEVELS[this.kind]) return;
      let rest = 0;
      let left = 0;
      for (const children of this.childrenToDraw(nodes, value / drawn)) {
        const part = sum(children);
        const same = this.kind === "treemap" && part > value * MAIN_CHILD_SHARE && !profile.isOperator(children[0]);
        if (part >= drawn * MIN_SHARE) add(children, String(node), same ? level : level + 1);
        else if (part > 0) {
          rest += part;
          left += 1;
        }
      }
      if (left) {
        found.push({
          id: `rest of ${node}`,
          node: null,
          parent: String(node),
          label: `${left} smaller`,
          value: rest,
          text: amount(measure, rest),
          hover: `${left} smaller parts<br>${percent(rest, whole)} of all`,
          color: mixed(this.colors.of(node, theme), theme.panel, 0.7),
        });
      }
    };
    add([root], "", 0);
    return this.consistent(found);
  }

  /** Lists what is below nodes that are drawn as one, given their share of the chart; equal parts of theirs are one, too. */
  childrenToDraw(nodes, share) {
    const { profile } = this;
    const [node] = nodes;
    const isFold = node !== EVERYTHING && profile.kind[node] === REPEATED;
    if (nodes.length === 1 && !isFold) return profile.below(node).map((child) => [child]);
    const parents = nodes.flatMap((each) => profile.members(each));
    const width = (share * this.element.clientWidth) / parents.length;
    if (nodes.length === 1 && (this.kind !== "icicle" || width >= MIN_TEXT_WIDTH)) return parents.map((each) => [each]);
    const groups = new Map();
    for (const child of parents.flatMap((each) => profile.below(each))) {
      const key = `${profile.kind[child]} ${profile.name[child]}`;
      if (groups.has(key)) groups.get(key).push(child);
      else groups.set(key, [child]);
    }
    return groups.values();
  }

  /** Sets a parent's value to the sum of the sectors below it; plotly rejects one that is smaller due to rounding. */
  consistent(found) {
    const sums = new Map();
    for (const each of [...found].reverse()) {
      each.value = sums.get(each.id) ?? each.value;
      sums.set(each.parent, (sums.get(each.parent) ?? 0) + each.value);
    }
    return found;
  }

  hover(node, totals, measure, whole) {
    const { profile } = this;
    const lines = [`<b>${escaped(elided(node === EVERYTHING ? "Total" : profile.path[node], 90))}</b>`];
    if (node !== EVERYTHING && profile.typeBeside(node)) lines.push(escaped(profile.typeBeside(node)));
    lines.push(escaped(elided(totals.describe(measure, node), 120)));
    if (whole) lines.push(`${percent(totals.value(measure, node), whole)} of all`);
    if (node !== EVERYTHING) lines.push(...this.facts.shapes(node).slice(0, 2).map((line) => escaped(elided(line, 120))));
    return lines.join("<br>");
  }

  hoverOfSeveral(nodes, value, measure, whole) {
    const { path } = this.profile;
    const lines = [`<b>${escaped(elided(path[nodes[0]], 90))}</b>`, `and ${grouped(nodes.length - 1)} more in equal blocks`];
    lines.push(`${amount(measure, value)} ${MEASURES[measure].label} in all`);
    if (whole) lines.push(`${percent(value, whole)} of all`);
    return lines.join("<br>");
  }

  /** Finds the sector of a node, or of the nearest module above it that has one. */
  nearest(node, sectors) {
    if (node === undefined) return null;
    const ids = new Set(sectors.map((each) => each.id));
    return this.profile.ancestry(node).map(String).findLast((id) => ids.has(id)) ?? null;
  }

  describe(sectors, totals, measure, root) {
    const largest = sectors.filter((each) => each.parent === String(root)).sort((one, other) => other.value - one.value);
    const whole = totals.value(measure, root);
    const parts = largest.slice(0, 5).map((each) => `${each.label} ${percent(each.value, whole)}`);
    return `${this.kind} of ${MEASURES[measure].label} in ${sectors[0].label}: ${parts.join(", ")}`;
  }
}
