// Colours: of module types by how much they do, of phases by name, and of the page's theme as plotly wants them.

const PALETTE = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#a463f2", "#3ca951", "#ff8ab7", "#9c6b4e", "#38b2d8"];
const PHASES = { forward: "#4c78dd", backward: "#f0a030", recompute: "#a463f2", optimizer: "#3ca951" };
const HELD = 0.72; // how grey a module is that only holds others
const OTHER_PHASE = "#9498a0";

/**
 * Gives each of the types that do most a colour of its own; the others are grey. A module that only holds others is
 * grey with a touch of the type that does most in it.
 */
class Colours {
  constructor(profile, totals, measure) {
    this.profile = profile;
    const own = new Map();
    for (let node = 0; node < profile.size; node += 1) {
      if (!profile.isOperator(node)) continue;
      const type = profile.type[profile.parent[node]];
      own.set(type, (own.get(type) ?? 0) + Math.abs(totals.value(measure, node)));
    }
    const ranked = [...own].filter(([type, value]) => type && value > 0).sort((one, other) => other[1] - one[1]);
    this.types = new Map(ranked.slice(0, PALETTE.length).map(([type], place) => [type, PALETTE[place]]));
    this.main = this.mainTypes(totals, measure);
  }

  /** Finds the type that does most in each module and below it. */
  mainTypes(totals, measure) {
    const { profile } = this;
    const names = [...this.types.keys()];
    const sums = Array.from({ length: profile.size }, () => new Float64Array(names.length));
    for (let node = profile.size - 1; node >= 0; node -= 1) {
      const above = profile.parent[node];
      if (above < 0) continue;
      if (profile.isOperator(node)) {
        const place = names.indexOf(profile.type[above]);
        if (place >= 0) sums[above][place] += totals.value(measure, node);
      } else {
        sums[node].forEach((sum, place) => (sums[above][place] += sum));
      }
    }
    return sums.map((parts) => {
      const most = Math.max(...parts);
      return most > 0 ? names[parts.indexOf(most)] : undefined;
    });
  }

  /** Returns a node's colour; an operator has that of its module, paler. */
  of(node, theme) {
    const { profile } = this;
    if (node === EVERYTHING) return theme.neutral;
    if (profile.isOperator(node)) {
      const colour = this.types.get(profile.type[profile.parent[node]]);
      return mixed(colour ?? theme.neutral, theme.panel, 0.42);
    }
    const main = this.types.get(this.main[node]);
    return this.types.get(profile.type[node]) ?? (main ? mixed(main, theme.neutral, HELD) : theme.neutral);
  }
}

function channels(colour) {
  const found = colour.match(/^#(..)(..)(..)$/);
  if (found) return found.slice(1).map((pair) => parseInt(pair, 16));
  return colour.match(/[\d.]+/g).slice(0, 3).map(Number);
}

function mixed(one, other, share) {
  const [first, second] = [channels(one), channels(other)];
  return `rgb(${first.map((value, place) => Math.round(value * (1 - share) + second[place] * share)).join(",")})`;
}

/** Returns black or white, whichever stands out more on a colour. */
function readable(colour) {
  const [red, green, blue] = channels(colour).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return luminance > 0.179 ? "#101418" : "#ffffff";
}

/** Gives an element a colour, and the one that stands out on it. */
function paintChip(chip, colour) {
  chip.style.setProperty("--chip", colour);
  chip.style.setProperty("--tick", readable(colour));
}

/** Reads what the style sheet's colours are under the theme that is on. */
function themeColours() {
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

/** Returns the part of every chart's layout that the theme decides. */
function themedLayout(theme) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: theme.ink },
    hoverlabel: { bgcolor: theme.panel, bordercolor: theme.line, font: { color: theme.ink, size: 12 }, align: "left" },
    margin: { l: 0, r: 0, t: 0, b: 0 },
  };
}

/** Fills a list with what colours stand for. */
function showLegend(list, entries) {
  const items = entries.map(([name, colour]) => {
    const item = made("li");
    const dot = made("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = colour;
    item.append(dot, name);
    return item;
  });
  list.replaceChildren(...items);
}

/** Keeps plotly from reading names as markup. */
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Shortens a long name in the middle, where names of operators differ least. */
function elided(text, room) {
  if (text.length <= room) return text;
  const head = Math.floor(((room - 1) * 2) / 3);
  return `${text.slice(0, head)}…${text.slice(text.length - (room - 1 - head))}`;
}
