// Colors of module types (by work), of phases (by name), and of the page's theme in the form that plotly needs.

const PALETTE = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#a463f2", "#3ca951", "#ff8ab7", "#9c6b4e", "#38b2d8"];
const PHASES = { forward: "#4c78dd", backward: "#f0a030", recompute: "#a463f2", optimizer: "#3ca951", prefill: "#38b2d8", decode: "#ff725c" };
const CONTAINER_GRAY = 0.72; // how gray a module is that only contains others
const OTHER_PHASE = "#9498a0";

/**
 * Gives each of the types with the most work its own color; the others are gray. A module that only contains others is
 * gray with a touch of the type that does the most work in it.
 */
class Colors {
  constructor(profile, totals, measure) {
    this.profile = profile;
    const own = new Map();
    for (let node = 0; node < profile.size; node += 1) {
      if (!profile.isOperator(node)) continue;
      const type = profile.type[profile.moduleOf(node)];
      own.set(type, (own.get(type) ?? 0) + Math.abs(totals.value(measure, node)));
    }
    const ranked = [...own].filter(([type, value]) => type && value > 0).sort((one, other) => other[1] - one[1]);
    this.types = new Map(ranked.slice(0, PALETTE.length).map(([type], index) => [type, PALETTE[index]]));
    this.main = this.mainTypes(totals, measure);
  }

  /** Finds the type that does the most work in each module, including all below it. */
  mainTypes(totals, measure) {
    const { profile } = this;
    const names = [...this.types.keys()];
    const sums = Array.from({ length: profile.size }, () => new Float64Array(names.length));
    for (const node of profile.upward) {
      const parent = profile.parent[node];
      if (parent < 0) continue;
      if (profile.isOperator(node)) {
        const index = names.indexOf(profile.type[profile.moduleOf(node)]);
        if (index >= 0) sums[parent][index] += totals.value(measure, node);
      } else {
        sums[node].forEach((sum, index) => (sums[parent][index] += sum));
      }
    }
    return sums.map((parts) => {
      const most = Math.max(...parts);
      return most > 0 ? names[parts.indexOf(most)] : undefined;
    });
  }

  /** Returns a node's color; an operator has that of its module, paler. */
  of(node, theme) {
    const { profile } = this;
    if (node === EVERYTHING) return theme.neutral;
    if (profile.isOperator(node)) {
      const color = this.types.get(profile.type[profile.moduleOf(node)]);
      return mixed(color ?? theme.neutral, theme.panel, 0.42);
    }
    const main = this.types.get(this.main[node]);
    return this.types.get(profile.type[node]) ?? (main ? mixed(main, theme.neutral, CONTAINER_GRAY) : theme.neutral);
  }
}

function channels(color) {
  const found = color.match(/^#(..)(..)(..)$/);
  if (found) return found.slice(1).map((pair) => parseInt(pair, 16));
  return color.match(/[\d.]+/g).slice(0, 3).map(Number);
}

function mixed(one, other, share) {
  const [first, second] = [channels(one), channels(other)];
  return `rgb(${first.map((value, index) => Math.round(value * (1 - share) + second[index] * share)).join(",")})`;
}

/** Returns black or white, whichever has more contrast with a color. */
function readable(color) {
  const [red, green, blue] = channels(color).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return luminance > 0.179 ? "#101418" : "#ffffff";
}

/** Sets an element's color, and the text color that is readable on it. */
function paintChip(chip, color) {
  chip.style.setProperty("--chip", color);
  chip.style.setProperty("--tick", readable(color));
}

/** Reads the style sheet's colors under the current theme. */
function themeColors() {
  const probe = document.createElement("i");
  document.body.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["ink", "dim", "line", "panel", "neutral", "accent"];
  const found = Object.fromEntries(names.map((name) => [name, read(name)]));
  probe.remove();
  return found;
}

/** Returns the part of a chart's layout that depends on the theme. */
function themedLayout(theme) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: theme.ink },
    hoverlabel: { bgcolor: theme.panel, bordercolor: theme.line, font: { color: theme.ink, size: 12 }, align: "left" },
    margin: { l: 0, r: 0, t: 0, b: 0 },
  };
}

/** Fills a list with the names of colors. */
function showLegend(list, entries) {
  const items = entries.map(([name, color]) => {
    const item = made("li");
    const dot = made("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = color;
    item.append(dot, name);
    return item;
  });
  list.replaceChildren(...items);
}

/** Escapes a name, so that plotly does not read it as markup. */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Shortens a long name in the middle, where names of operators differ least. */
function elided(text, room) {
  if (text.length <= room) return text;
  const head = Math.floor(((room - 1) * 2) / 3);
  return `${text.slice(0, head)}…${text.slice(text.length - (room - 1 - head))}`;
}
