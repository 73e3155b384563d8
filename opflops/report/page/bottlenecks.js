// Where to optimize: modules and operators by time, with what halving each would save and what holds it back. Python
// ranks them; no filter changes that.

const FIRST_ENTRIES = 8;
const LIMIT_HINTS = {
  arithmetic: "The device's peak FLOP/s hold back most of this time.",
  memory: "The device's memory bandwidth holds back most of this time.",
  launches: "Short calls, far above their bound: most of this time goes to starting them.",
};

class Bottlenecks {
  /** @param on the callbacks: select(node), find(operator) */
  constructor(at, data, profile, on) {
    Object.assign(this, { at, data, profile, on });
    this.nodes = new Map(profile.path.map((path, node) => [path, node]).filter(([, node]) => !profile.isOperator(node)));
  }

  build() {
    const { basis, notes, lists } = this.data;
    this.at("bottlenecks-basis").textContent = basis.replace(/^Where to optimize, b/, "B");
    this.at("bottlenecks").append(...lists.map((list) => this.list(list)));
    this.at("bottlenecks-notes").append(...notes.map((note) => made("li", {}, note)));
    if (lists.length) this.at("bottlenecks-hint").hidden = false;
    this.at("bottlenecks-panel").hidden = false;
  }

  list({ kind, all, entries }) {
    const table = made("table", { "data-kind": kind });
    const limited = entries.some((entry) => entry.limit);
    const columns = [[kind === "module" ? "Module" : "Operator", "name"], ["Share", "share"], ["Time", "number"],
      ["Half saves", "number"], ["Speed-up", "number"], ...(limited ? [["Held back by", "limit"]] : [])];
    const head = made("tr");
    head.append(...columns.map(([heading, kind]) => made("th", { scope: "col", class: kind }, heading)));
    table.createTHead().append(head);
    const body = table.createTBody();
    body.append(...entries.map((entry, index) => {
      const row = this.row(kind, entry, limited);
      row.hidden = index >= FIRST_ENTRIES;
      return row;
    }));
    const part = made("div");
    part.append(table);
    const left = all - Math.min(FIRST_ENTRIES, entries.length);
    if (left) part.append(this.more(body, left, all - entries.length));
    return part;
  }

  /** Makes the button that shows the entries that are hidden at first. */
  more(body, left, missing) {
    const closed = `${grouped(left)} more`;
    const button = made("button", { type: "button", class: "link more", "aria-expanded": "false" }, closed);
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "false";
      [...body.rows].forEach((row, index) => (row.hidden = !open && index >= FIRST_ENTRIES));
      button.setAttribute("aria-expanded", open);
      button.textContent = open ? `Show fewer${missing ? ` (${grouped(missing)} smaller ones are not listed)` : ""}` : closed;
    });
    return button;
  }

  row(kind, entry, limited) {
    const row = made("tr");
    const name = made("th", { scope: "row", class: "name", title: this.describe(kind, entry) });
    const node = this.nodes.get(entry.module);
    const linked = kind === "operator" || node !== undefined;
    const label = made(linked ? "button" : "span", linked ? { type: "button", class: "link" } : {}, this.short(entry.label));
    if (linked) label.addEventListener("click", () => (kind === "operator" ? this.on.find(entry.label) : this.on.select(node)));
    name.append(label);
    const share = made("td", { class: "share" });
    share.style.setProperty("--share-part", Math.min(1, entry.share));
    share.append(made("span", {}, percent(entry.share, 1)));
    row.append(name, share, made("td", { class: "number" }, duration(entry.seconds)),
      made("td", { class: "number" }, percent(entry.saving, 1)), made("td", { class: "number" }, `${fixed(entry.speedup, 2)}×`));
    if (limited) {
      const limit = made("td", { class: "limit" });
      if (entry.limit) limit.append(made("span", { class: "limit-tag", "data-limit": entry.limit, title: LIMIT_HINTS[entry.limit] }, entry.limit));
      row.append(limit);
    }
    return row;
  }

  /** Leaves out the outermost module if all are in the same one. */
  short(label) {
    const { root } = this.data;
    return elided(root && label.startsWith(root) ? label.slice(root.length) : label, 44);
  }

  describe(kind, { label, own, seconds, within, calls, attained }) {
    const lines = [label, `${grouped(calls)} ${calls === 1 ? "call" : "calls"} of operators`];
    if (kind === "module" && own !== seconds) lines.push(`${duration(own)} in its own operators`);
    if (within) lines.push(`also counted in ${within}`);
    if (attained !== null) lines.push(`reached ${fixed(100 * attained, 1)} % of the bound`);
    return lines.join("\n");
  }
}
