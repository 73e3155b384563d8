// The rows of the module tree as elements: names with their types and tags, shares as bars, numbers scaled with the full
// ones in tooltips. tree.js decides which rows are shown.

const OPTIONAL = new Set(["transcendentals", "activations", "sent"]); // columns that are shown while their measure is chosen

class Cells {
  constructor(profile, facts, colors, columns) {
    Object.assign(this, { profile, facts, colors, columns });
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
      class: profile.isOperator(node) ? "operator" : "module",
    });
    const hasChildren = profile.children[node].length > 0;
    if (hasChildren) row.setAttribute("aria-expanded", opened);
    row.append(this.nameCell(node, level, hasChildren, words));
    const share = made("td", { role: "gridcell", class: "share", "data-column": "share" });
    const whole = totals.value(measure, EVERYTHING);
    const part = whole ? totals.value(measure, node) / whole : 0;
    share.style.setProperty("--share-part", Math.max(0, Math.min(1, part)));
    share.append(made("span", part ? {} : { class: "nothing" }, percent(totals.value(measure, node), whole)));
    row.append(share, ...this.numberCells(node));
    return row;
  }

  nameCell(node, level, hasChildren, words) {
    const { profile } = this;
    const cell = made("td", { role: "gridcell", class: "name", title: [profile.path[node], ...this.facts.shapes(node)].join("\n") });
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
    if (profile.kind[node] === UNPRICED) cell.append(made("span", { class: "tag warn" }, "unpriced"));
    const shared = this.facts.sharedBy(node);
    if (shared.length) cell.append(made("span", { class: "tag", title: shared.join("; ") }, "shared"));
    const reasons = profile.estimates[node];
    if (reasons) cell.append(made("span", { class: "tag", title: reasons.join("; ") }, "estimate"));
    return cell;
  }

  numberCells(node) {
    return [...this.measureCells(node), ...this.factCells(node)];
  }

  factCells(node) {
    return this.facts.columns.map((name) => {
      const text = this.facts.short(name, node);
      const cell = made("td", { role: "gridcell", class: `number${text.split(" ")[0] === "0" ? " nothing" : ""}`, "data-column": name });
      cell.append(text);
      cell.title = this.facts.describe(name, node);
      return cell;
    });
  }

  measureCells(node) {
    return this.columns.map((name) => {
      const kinds = ["number", ...(name === this.measure ? ["chosen"] : []), ...(OPTIONAL.has(name) ? ["optional"] : [])];
      const cell = made("td", { role: "gridcell", class: kinds.join(" "), "data-column": name });
      const text = name === "calls" ? this.totals.full(name, node) : this.totals.short(name, node);
      cell.append(text);
      if (text === "0" || text.startsWith("0 ")) cell.classList.add("nothing");
      cell.title = this.totals.describe(name, node);
      return cell;
    });
  }

  /** Makes the row of the total, below a number of other rows. */
  totalRow(rows) {
    const { root } = this.totals;
    const zoomed = root !== EVERYTHING && root !== this.profile.top;
    const row = made("tr", { role: "row", "aria-rowindex": rows + 2 });
    row.append(made("th", { scope: "row", class: "name" }, zoomed ? `Total of ${this.profile.name[root]}` : "Total"));
    row.append(made("td", { role: "gridcell", class: "share", "data-column": "share" }));
    row.append(...this.measureCells(EVERYTHING), ...this.factCells(zoomed ? root : EVERYTHING));
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
