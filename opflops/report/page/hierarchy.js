// The icicle and the treemap: the part of the tree below one node, as far as there is room. Sectors that are too small to
// see are merged, so that plotly stays fast with any number of modules.

const LEVELS = { icicle: 6, treemap: 3 };
const MAIN_CHILD_SHARE = 0.7; // a child with a larger share of its treemap module takes no level of its own
const ZOOM_MILLISECONDS = 280;
const MIN_SHARE = 0.002; // of the drawn root: about two pixels
const MIN_TEXT_WIDTH = 20; // pixels
const MIN_NUMBER_WIDTH = 58;
const FADED = 0.75; // how much of the background there is in what a search does not find
const CHART_CONFIG = { responsive: true, displayModeBar: false, displaylogo: false };

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
    const layout = { ...themedLayout(theme), uniformtext: { minsize: 11, mode: "hide" } };
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

  /** Writes the text that fits into a sector; plotly could hide the rest, but is slow at measuring text. */
  words({ label, text }, part) {
    const { clientWidth, clientHeight } = this.element;
    const width = this.kind === "icicle" ? part * clientWidth : Math.sqrt(part * clientWidth * clientHeight);
    if (width < MIN_TEXT_WIDTH) return "";
    return width < MIN_NUMBER_WIDTH ? escaped(label) : `${escaped(label)}<br>${text}`;
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

  /** Lists the sectors to draw, parents first. */
  sectors(totals, measure, root, theme) {
    const { profile } = this;
    const whole = totals.value(measure, EVERYTHING);
    const drawn = totals.value(measure, root);
    const found = [];
    const add = (node, parent, level) => {
      const value = totals.value(measure, node);
      const label = node === EVERYTHING ? "Total" : profile.name[node];
      found.push({
        id: String(node),
        node,
        parent,
        label,
        value,
        text: amount(measure, value),
        hover: this.hover(node, totals, measure, whole),
        color: this.isFaded(node) ? mixed(this.colors.of(node, theme), theme.panel, FADED) : this.colors.of(node, theme),
      });
      if (level === LEVELS[this.kind]) return;
      let rest = 0;
      let left = 0;
      for (const child of profile.below(node)) {
        const part = totals.value(measure, child);
        const same = this.kind === "treemap" && part > value * MAIN_CHILD_SHARE && !profile.isOperator(child);
        if (part >= drawn * MIN_SHARE) add(child, String(node), same ? level : level + 1);
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
    add(root, "", 0);
    return this.consistent(found);
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
