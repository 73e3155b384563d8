// The rows of the module tree as elements: names with their types and tags, shares as bars, numbers scaled with the full
// ones in tooltips. What stands where, tree.js decides.

class Cells {
  constructor(profile, colours, columns) {
    Object.assign(this, { profile, colours, columns });
  }

  /** Takes the sums to write, and the measure that shares are of. */
  take(totals, measure) {
    this.totals = totals;
    this.measure = measure;
  }

  /**
   * Makes the row of a node.
   * @param line the node, its level, and its place among so many shown siblings
   * @param index its place among all rows
   * @param opened whether what is below it is shown
   * @param words what is searched for, to be marked in it; "" if the search did not find it
   */
  row({ node, level, place, of }, index, opened, words) {
    const { profile, totals, measure } = this;
    const row = made("tr", {
      role: "row",
      "aria-level": level,
      "aria-posinset": place,
      "aria-setsize": of,
      "aria-rowindex": index + 2,
      "data-node": node,
      class: profile.isOperator(node) ? "operator" : "module",
    });
    const leads = profile.children[node].length > 0;
    if (leads) row.setAttribute("aria-expanded", opened);
    row.append(this.nameCell(node, level, leads, words));
    const share = made("td", { role: "gridcell", class: "share", "data-column": "share" });
    const whole = totals.value(measure, EVERYTHING);
    const part = whole ? totals.value(measure, node) / whole : 0;
    share.style.setProperty("--share-part", Math.max(0, Math.min(1, part)));
    share.append(made("span", part ? {} : { class: "nothing" }, percent(totals.value(measure, node), whole)));
    row.append(share, ...this.numberCells(node));
    return row;
  }

  nameCell(node, level, leads, words) {
    const { profile } = this;
    const cell = made("td", { role: "gridcell", class: "name", title: profile.path[node] });
    cell.style.setProperty("--level", level - 1);
    const toggle = made("span", { class: "toggle", "aria-hidden": "true" });
    if (!leads) toggle.classList.add("none");
    const dot = made("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = this.colours.of(node, this.theme);
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
    const reasons = profile.estimates[node];
    if (reasons) cell.append(made("span", { class: "tag", title: reasons.join("; ") }, "estimate"));
    return cell;
  }

  numberCells(node) {
    return this.columns.map((name) => {
      const cell = made("td", { role: "gridcell", class: `number ${name === this.measure ? "chosen" : ""}`, "data-column": name });
      const text = name === "calls" ? this.totals.full(name, node) : this.totals.short(name, node);
      cell.append(text);
      if (text === "0" || text.startsWith("0 ")) cell.classList.add("nothing");
      cell.title = this.totals.told(name, node);
      return cell;
    });
  }

  /** Makes the row of the total, below so many others. */
  whole(rows) {
    const row = made("tr", { role: "row", "aria-rowindex": rows + 2 });
    row.append(made("th", { scope: "row", class: "name" }, "Total"));
    row.append(made("td", { role: "gridcell", class: "share", "data-column": "share" }));
    row.append(...this.numberCells(EVERYTHING));
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
