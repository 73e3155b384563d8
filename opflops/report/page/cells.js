// The rows of the module tree as elements: names with their types and tags, shares as bars, numbers scaled with the full
// ones in tooltips. tree.js decides which rows are shown.

const OPTIONAL = new Set(["transcendentals", "activations", "sent"]); // columns that are shown while their measure is chosen

class Cells {
  constructor(profile, facts, colors, columns) {
    Object.assign(this, { profile, facts, colors, columns });
    this.plan = { hidden: new Set(), whole: new Set() };
  }

  /** Sets the sums to write, and the measure of shares. */
  setTotals(totals, measure) {
    this.totals = totals;
    this.measure = measure;
  }

  /**
   * Makes the row of a node.
   * @param line the node, its level, and its index among the shown siblings
   * @param index its index among all rows
   * @param opened whether its children are shown
   * @param words the searched words, to be marked; "" if the search did not find the node
   */
  row({ node, level, position, of }, index, opened, words) {
    const { profile, totals, measure } = this;
    const row = made("tr", {
      role: "row",
      "aria-level": level,
      "aria-posinset": position,
      "aria-setsize": of,
      "aria-rowindex": index + 2,
      "data-node": node,
      class: this.kind(node),
    });
    const hasChildren = profile.children[node].length > 0;
    if (hasChildren) row.setAttribute("aria-expanded", opened);
    row.append(this.nameCell(node, level, hasChildren, words));
    const whole = totals.value(measure, EVERYTHING);
    const value = totals.value(measure, node);
    row.append(this.shareCell(whole ? value / whole : 0, percent(value, whole)), ...this.numberCells(node));
    return row;
  }

  kind(node) {
    return this.profile.isOperator(node) ? "operator" : "module";
  }

  shareCell(part, text) {
    const cell = made("td", { role: "gridcell", class: "share", "data-column": "share" });
    cell.append(portion(part, text));
    return cell;
  }

  nameCell(node, level, hasChildren, words) {
    const { profile } = this;
    const cell = made("td", { role: "gridcell", class: "name", title: [profile.path[node], ...this.facts.shapes(node), ...(profile.estimates[node] ?? [])].join("\n") });
    cell.style.setProperty("--level", level - 1);
    const toggle = made("span", { class: "toggle", "aria-hidden": "true" });
    if (!hasChildren) toggle.classList.add("none");
    const dot = made("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = this.colors.of(node, this.theme);
    const name = made("span", { class: "label" });
    marked(name, profile.name[node], words);
    cell.append(toggle, dot, name);
    const type = profile.typeBeside(node);
    if (type) {
      const beside = made("span", { class: "type" });
      marked(beside, type, words);
      cell.append(beside);
    }
    for (const [text, title, warns] of this.tags(node)) {
      cell.append(made("span", { class: warns ? "tag warn" : "tag", ...(title ? { title } : {}) }, text));
    }
    return cell;
  }

  /** Lists what is marked at a name: a word, a reason for it, and whether it is a warning. */
  tags(node) {
    const shared = this.facts.sharedBy(node);
    const reasons = this.profile.estimates[node];
    return [
      ...(this.profile.kind[node] === UNPRICED ? [["unpriced", "", true]] : []),
      ...(shared.length ? [["shared", shared.join("; "), false]] : []),
      ...(reasons ? [["estimate", reasons.join("; "), false]] : []),
    ];
  }

  /** Writes a number of a column; a formula in full, or by its largest term. */
  text(column, node, whole = this.plan.whole.has(column)) {
    if (!(column in MEASURES)) return this.facts.short(column, node);
    return whole || column === "calls" ? this.totals.full(column, node) : this.totals.short(column, node);
  }

  /** Lists texts that are as wide as numbers of a column with a prefix become. */
  widest(column) {
    if (column === "calls") return [];
    const sign = column === "params" ? "*" : "";
    const unit = column === "params" ? "" : MEASURES[column]?.unit ?? "B";
    return [`${sign}888.8 M${unit}`];
  }

  /** Makes the cells of measures, then those of facts, which are of a node for EVERYTHING in a part of the model. */
  numberCells(node, part = node) {
    const { measure, facts, totals } = this;
    return [...this.columns, ...facts.columns].map((name) => {
      const known = name in MEASURES;
      const text = this.text(name, known ? node : part);
      const cell = made("td", { role: "gridcell", class: "number", "data-column": name }, text);
      cell.classList.toggle("chosen", name === measure);
      cell.classList.toggle("nothing", text.split(" ")[0] === "0");
      cell.hidden = this.plan.hidden.has(name);
      cell.title = known ? totals.describe(name, node) : facts.describe(name, part);
      return cell;
    });
  }

  /** Makes the row of the total, below a number of other rows. */
  totalRow(rows) {
    const { root } = this.totals;
    const zoomed = root !== EVERYTHING && root !== this.profile.top;
    const row = made("tr", { role: "row", "aria-rowindex": rows + 2 });
    row.append(made("th", { role: "rowheader", scope: "row", class: "name" }, zoomed ? `Total of ${this.profile.name[root]}` : "Total"));
    row.append(made("td", { role: "gridcell", class: "share", "data-column": "share" }));
    row.append(...this.numberCells(EVERYTHING, zoomed ? root : EVERYTHING));
    return row;
  }
}

/** Makes an element with attributes and text. */
function made(tag, attributes = {}, text = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.append(text);
  return element;
}

/** Makes a share: its text, and beside it a bar. */
function portion(part, text) {
  const line = made("div", { class: "portion" });
  const track = made("span", { class: "track", "aria-hidden": "true" });
  const bar = made("span", { class: "bar" });
  bar.style.width = `${100 * Math.max(0, Math.min(1, part))}%`;
  track.append(bar);
  line.append(made("span", part ? {} : { class: "nothing" }, text), track);
  return line;
}
