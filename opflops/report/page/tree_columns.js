// Which columns of the tree are shown, and how wide they are. Names come first: columns of numbers give way until names
// are whole; where that is not enough, a name has a line of its own. Texts are measured in the document, whatever its fonts.

const FIRST_TO_HIDE = ["calls", "peak", "activations", "transcendentals", "bytes", "sent", "saved", "macs", "params", "flops", "seconds"];
const MAX_MEASURED = 16; // of the names and of the texts of a column, so many of the longest are measured
const MAX_READ = 1000; // texts of so many lines are compared
const ROW_HEIGHTS = { line: 30, stacked: 54 }; // pixels

class TreeColumns {
  /** @param table the table, whose styles apply to what is measured */
  constructor(scroller, cells) {
    Object.assign(this, { scroller, cells });
    this.bench = made("table", { class: "bench" });
    this.bench.append(made("tbody"));
    const hidden = made("div", { class: "visually-hidden", "aria-hidden": "true" });
    hidden.append(this.bench);
    scroller.append(hidden);
    this.reset();
  }

  /** Forgets what was measured, when other names or numbers come. */
  reset() {
    this.needs = new Map();
  }

  /** Lists the columns of numbers that there is a choice of, in order. */
  get choices() {
    const { columns, facts, measure } = this.cells;
    return [...columns.filter((name) => !OPTIONAL.has(name) || name === measure), ...facts.columns];
  }

  /** Tells whether the cells of a column are formulas, of which the largest term can stand for all. */
  hasFormulas(column) {
    return this.cells.profile.symbolic && column in MEASURES && this.cells.totals.hasTerms(column);
  }

  /** Measures what the names and numbers of lines need. What was needed before still is. */
  measure(lines, headings) {
    const { cells } = this;
    const found = [];
    const put = (key, cell, kind = "", heading = false) => {
      const row = made("tr", { class: kind });
      cell.hidden = false;
      row.append(cell);
      (heading ? this.head() : this.bench.tBodies[0]).append(row);
      found.push([key, cell]);
    };
    const long = (length) => [...lines].sort((one, other) => length(other) - length(one)).slice(0, MAX_MEASURED);
    const label = ({ node, level }) => 2 * level + cells.profile.name[node].length;
    const all = (line) => label(line) + cells.profile.typeBeside(line.node).length + cells.tags(line.node).length;
    for (const [key, rough] of [["name", all], ["label", label]]) {
      for (const { node, level } of long(rough)) put(key, cells.nameCell(node, level, true, ""), `${cells.kind(node)} ${key}`);
    }
    for (const key of ["share", "percent"]) put(key, cells.shareCell(1, "100.0 %"), key);
    for (const [name, heading] of headings) put(name === "share" ? "percent" : name, heading.cloneNode(true), "", true);
    for (const column of this.choices) {
      for (const cell of this.longest(lines, column, false)) put(column, cell);
      if (this.hasFormulas(column)) for (const cell of this.longest(lines, column, true)) put(`${column} whole`, cell);
    }
    const widths = found.map(([key, cell]) => [key, Math.ceil(cell.getBoundingClientRect().width)]);
    for (const [key, width] of widths) this.needs.set(key, Math.max(width, this.needs.get(key) ?? 0));
    this.needs.set("share", Math.max(this.needs.get("share"), this.needs.get("percent")));
    this.bench.tBodies[0].replaceChildren();
    this.bench.tHead?.remove();
  }

  head() {
    return this.bench.tHead ?? this.bench.createTHead();
  }

  /** Makes the cells of a column with the longest texts. */
  longest(lines, column, whole) {
    const { cells } = this;
    const texts = new Set(lines.slice(0, MAX_READ).map(({ node }) => cells.text(column, node, whole)));
    const sorted = [...texts].sort((one, other) => other.length - one.length).slice(0, MAX_MEASURED);
    const cell = (text, isBold) => made("td", { class: isBold ? "number chosen" : "number" }, text);
    const total = cells.text(column, EVERYTHING, whole); // bold in any case
    return [cell(total, true), ...[...sorted, ...cells.widest(column)].map((text) => cell(text, column === cells.measure))];
  }

  /** Returns the width at which nothing has to give way, but for formulas of measures that are not chosen. */
  get natural() {
    return this.width(this.choices, new Set([this.cells.measure].filter((name) => this.hasFormulas(name))), "name", "share");
  }

  width(columns, whole, ...others) {
    const keys = [...others, ...columns.map((name) => (whole.has(name) ? `${name} whole` : name))];
    return keys.reduce((sum, key) => sum + (this.needs.get(key) ?? 0), 0);
  }

  /**
   * Chooses columns for a width.
   *
   * @returns whether names are stacked on numbers, and then whether they are indented less; the columns that are hidden,
   *   those whose formulas are whole, whether shares have bars, and the template of a row's grid
   */
  plan(width) {
    const beside = this.choose(width, "name", "share");
    const fits = (...keys) => this.width(beside.shown, beside.whole, ...keys) <= width;
    const kinds = [["name", "share"], ["label", "share"], ["label", "percent"]];
    const kind = kinds.find((keys) => fits(...keys));
    if (kind) return this.planned(false, beside, kind[1]);
    const below = this.choose(width, "share");
    const stackedKind = this.width(below.shown, below.whole, "share") <= width ? "share" : "percent";
    return { ...this.planned(true, below, stackedKind), tight: this.needs.get("label") > width };
  }

  /** Hides columns and shortens formulas until there is room beside others. */
  choose(width, ...others) {
    const { measure } = this.cells;
    let shown = this.choices;
    const important = [measure, ...FIRST_TO_HIDE.toReversed()].filter((name) => shown.includes(name) && this.hasFormulas(name));
    const whole = new Set(important);
    const fits = () => this.width(shown, whole, ...others) <= width;
    for (const name of [...whole].toReversed()) if (!fits()) whole.delete(name);
    for (const name of FIRST_TO_HIDE) if (!fits() && name !== measure) shown = shown.filter((each) => each !== name);
    for (const name of important) {
      if (!shown.includes(name) || whole.has(name)) continue;
      whole.add(name);
      if (!fits()) whole.delete(name);
    }
    return { shown, whole };
  }

  planned(stacked, { shown, whole }, share) {
    const widths = shown.map((name) => `${this.width([name], whole)}px`);
    const part = this.needs.get(share);
    const first = stacked ? `minmax(${part}px, 1fr)` : `minmax(0, 1fr) ${part}px`;
    const hidden = new Set([...this.cells.columns, ...this.cells.facts.columns].filter((name) => !shown.includes(name)));
    return { stacked, hidden, whole, bars: share === "share", template: [first, ...widths].join(" ") };
  }
}
