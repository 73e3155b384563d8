// Where to optimize: modules and operators by time, with what halving each would save and what holds it back. Python
// ranks them; no filter changes that.

const FIRST_ENTRIES = 8;
const BOTTLENECK_STEPS = ["speedup", "seconds", "limit", ".barless"];
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
    this.fit();
    onWidth(this.at("bottlenecks"), () => this.fit());
  }

  /** Puts the lists beside each other if no column has to give way for that. */
  fit() {
    const holder = this.at("bottlenecks");
    const tables = [...holder.querySelectorAll("table")];
    holder.classList.add("beside");
    const wrapped = tables.map((table) => fitTable(table, [], BOTTLENECK_STEPS));
    if (wrapped.every((steps) => steps < 2)) return;
    holder.classList.remove("beside");
    for (const table of tables) fitTable(table, BOTTLENECK_STEPS);
  }

  list({ kind, all, entries }) {
    const table = made("table", { "data-kind": kind });
    const limited = entries.some((entry) => entry.limit);
    const columns = [[kind === "module" ? "Module" : "Operator", "name"], ["Share", "share"], ["Time", "seconds"],
      ["Half saves", "saving"], ["Speed-up", "speedup"], ...(limited ? [["Held back by", "limit"]] : [])];
    const head = made("tr");
    head.append(...columns.map(([heading, column]) => cellOf("th", column, heading)));
    table.createTHead().append(head);
    const body = table.createTBody();
    body.append(...entries.map((entry, index) => {
      const row = this.row(kind, entry, limited);
      row.hidden = index >= FIRST_ENTRIES;
      return row;
    }));
    const part = made("div");
    const fitted = made("div", { class: "fitted" });
    fitted.append(table);
    part.append(fitted);
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
      this.fit();
      button.textContent = open ? `Show fewer${missing ? ` (${grouped(missing)} smaller ones are not listed)` : ""}` : closed;
    });
    return button;
  }

  row(kind, entry, limited) {
    const row = made("tr");
    const name = made("th", { scope: "row", class: "name", title: this.describe(kind, entry) });
    const node = this.nodes.get(entry.module);
    const linked = kind === "operator" || node !== undefined;
    const label = made(linked ? "button" : "span", linked ? { type: "button", class: "link" } : {});
    label.append(...breakable(this.short(entry.label)));
    if (linked) label.addEventListener("click", () => (kind === "operator" ? this.on.find(entry.label) : this.on.select(node)));
    name.append(label);
    row.append(name, cellOf("td", "share", portion(entry.share, percent(entry.share, 1))),
      cellOf("td", "seconds", duration(entry.seconds)), cellOf("td", "saving", percent(entry.saving, 1)),
      cellOf("td", "speedup", `${fixed(entry.speedup, 2)}×`));
    if (limited) {
      const { limit } = entry;
      row.append(cellOf("td", "limit", limit ? made("span", { class: "limit-tag", "data-limit": limit, title: LIMIT_HINTS[limit] }, limit) : ""));
    }
    return row;
  }

  /** Leaves out the outermost module if all are in the same one. */
  short(label) {
    const { root } = this.data;
    return root && label.startsWith(root) ? label.slice(root.length) : label;
  }

  describe(kind, { label, own, seconds, within, calls, attained }) {
    const lines = [label, `${grouped(calls)} ${calls === 1 ? "call" : "calls"} of operators`];
    if (kind === "module" && own !== seconds) lines.push(`${duration(own)} in its own operators`);
    if (within) lines.push(`also counted in ${within}`);
    if (attained !== null) lines.push(`reached ${fixed(100 * attained, 1)} % of the bound`);
    return lines.join("\n");
  }
}
