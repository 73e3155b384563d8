// Memory: the line at the top of the page, the bytes by category at the peak, the modules that keep most for the backward
// pass, and the switch between devices. timeline.js draws the chart.

// From the palette of Okabe and Ito, which readers with each kind of color blindness can tell apart; neighbors differ most.
// In the order of records, from the bottom of the chart to its top.
const CATEGORIES = [
  ["parameters", "#0072b2"],
  ["gradients", "#e69f00"],
  ["optimizer", "#009e73"],
  ["buffers", "#d55e00"],
  ["inputs", "#cc79a7"],
  ["activations", "#f0e442"],
  ["temporaries", "#56b4e9"],
];

/** Writes a moment as Python does: after which operator of which module it was. */
function momentWords([, op, module, phase, source], strings) {
  const line = strings[source] ? `, ${strings[source]}` : "";
  const inside = strings[module] ? ` in ${strings[module]}` : "";
  return `after ${strings[op]}${inside} (${strings[phase]})${line}`;
}

class MemoryPanel {
  /**
   * @param at finds an element by its id
   * @param fit whether the peak fits: a sentence, and whether it does; or null
   * @param on the callbacks: select(node), changed() after another device was chosen
   */
  constructor(at, facts, fit, on) {
    Object.assign(this, { at, facts, fit, on });
  }

  build() {
    const { data } = this.facts;
    this.at("memory-panel").hidden = false;
    this.at("timeline").setAttribute("aria-busy", true);
    if (data.memory.length > 1) {
      const buttons = data.memory.map(({ device }, index) => {
        const button = made("button", { type: "button", "aria-pressed": index === this.facts.device }, device);
        button.addEventListener("click", () => this.choose(index, buttons));
        return button;
      });
      this.at("memory-devices").append(...buttons);
      this.at("memory-devices").hidden = false;
    }
    this.line();
    this.show();
    onWidth(this.at("keepers").parentElement, () => this.fitKeepers());
  }

  fitKeepers() {
    fitTable(this.at("keepers"), [".barless"]);
  }

  choose(index, buttons) {
    this.facts.device = index;
    buttons.forEach((button, each) => button.setAttribute("aria-pressed", each === index));
    this.show();
    this.on.changed();
  }

  /** Writes the line at the top of the page, which is of the device with the highest peak. */
  line() {
    const { data, strings } = this.facts;
    const [{ device, peak, at: moment }] = data.memory;
    const line = this.at("memory-line");
    const size = made("strong", { title: `${grouped(readWhole(peak))} bytes` }, scaled(readWhole(peak), "B"));
    line.append("Memory: peak ", size);
    if (data.memory.length > 1) line.append(` on ${device}`);
    if (moment) line.append(...breakable(` ${momentWords(moment, strings)}`));
    if (this.fit) line.append(made("span", { class: this.fit[1] ? "fit" : "fit warn" }, this.fit[0]));
    line.hidden = false;
  }

  show() {
    const { facts } = this;
    const { live, peak, remarks, phases, end_of_forward: end } = facts.memory;
    const all = Number(readWhole(peak));
    this.at("categories").replaceChildren(
      ...CATEGORIES.map(([name, color], index) => {
        const value = readWhole(live[index]);
        const item = made("li", { title: `${grouped(value)} bytes of ${name} at the peak`, "data-category": name });
        const dot = made("span", { class: "dot", "aria-hidden": "true" });
        dot.style.background = color;
        item.append(dot, name, made("strong", {}, scaled(value, "B")), made("small", {}, percent(Number(value), all)));
        if (!value) item.classList.add("nothing");
        return item;
      }),
    );
    const parts = phases.map(([phase, size]) => [facts.strings[phase], readWhole(size), PHASES[facts.strings[phase]] ?? OTHER_PHASE]);
    if (end) parts.push(["end of forward", readWhole(end), null]);
    this.at("phase-peaks").replaceChildren(
      ...parts.map(([name, size, color]) => {
        const item = made("li", { title: `${grouped(size)} bytes` });
        if (color) {
          const dot = made("span", { class: "dot", "aria-hidden": "true" });
          dot.style.background = color;
          item.append(dot);
        }
        item.append(name, made("strong", {}, scaled(size, "B")));
        return item;
      }),
    );
    this.at("memory-remarks").textContent = remarks.join(" ");
    this.keepers();
  }

  /** Lists the modules that keep most, one row each. */
  keepers() {
    const { facts } = this;
    const { keepers, other_keepers: [others, rest], saved_in_all: all } = facts.memory;
    const whole = Number(readWhole(all));
    const paths = keepers.map(([module]) => facts.strings[module]);
    const root = `${paths[0]?.split(".")[0]}.`;
    const within = paths.every((path) => `${path}.`.startsWith(root));
    const rows = keepers.map(([, node, size, modules], index) => [paths[index], node, readWhole(size), modules]);
    if (others) rows.push([`${grouped(others)} ${others === 1 ? "other" : "others"}`, -1, readWhole(rest), 1]);
    this.at("memory").classList.toggle("whole", !keepers.length);
    // What all have in common takes no room.
    const short = (name) => (within && name.startsWith(root) ? name.slice(root.length) : name);
    this.at("keepers").tBodies[0].replaceChildren(...rows.map((row) => this.keeper(row, short(row[0]), whole)));
    this.at("kept-in-all").textContent = keepers.length ? scaled(readWhole(all), "B") : "";
    this.at("kept-in-all").title = `${grouped(readWhole(all))} bytes`;
    this.fitKeepers();
  }

  keeper([name, node, size, modules], shown, whole) {
    const row = made("tr");
    const first = made("th", { scope: "row", class: "name", title: name });
    if (node >= 0) {
      const button = made("button", { type: "button", class: "link" });
      button.append(...breakable(shown));
      button.addEventListener("click", () => this.on.select(node));
      first.append(button);
    } else {
      first.append(shown);
    }
    if (modules > 1) first.append(made("span", { class: "type" }, `×${grouped(modules)}`));
    const share = whole ? Number(size) / whole : 0;
    row.append(first, made("td", { class: "number", title: `${grouped(size)} bytes` }, scaled(size, "B")));
    row.append(cellOf("td", "share", portion(share, percent(Number(size), whole))));
    return row;
  }
}
