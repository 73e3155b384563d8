// The operators with the most work, a line each: name, bar split by phase, value and share. Where names and bars have no
// room beside each other, names are above.

const MAX_OPERATORS = 20;
const MIN_BAR_WIDTH = 160; // pixels, beside names

class Operators {
  /** @param on the callback: find(operator) */
  constructor(element, legend, on) {
    Object.assign(this, { element, legend, on });
    onWidth(element, () => this.fit());
  }

  draw({ totals, measure, search }) {
    const { label } = MEASURES[measure];
    const all = totals.byOperator(measure).filter((each) => each.value !== 0);
    const entries = all.slice(0, MAX_OPERATORS);
    const others = all.slice(MAX_OPERATORS);
    if (others.length) entries.push(sumOperators(others));
    const drawn = new Set(entries.flatMap((each) => [...each.phases.keys()]));
    const phases = totals.profile.present("phase").filter((phase) => drawn.has(phase));
    showLegend(this.legend, phases.map((phase) => [phase, PHASES[phase] ?? OTHER_PHASE]));
    const whole = totals.value(measure, EVERYTHING);
    const scale = barScale(entries);
    this.element.setAttribute("aria-label", `Operators by ${label}`);
    this.element.classList.toggle("message", !entries.length);
    const lines = entries.map((each) => this.line(each, { measure, whole, phases, scale, search }));
    this.element.replaceChildren(...(lines.length ? lines : [made("li", {}, `No ${label} here.`)]));
    this.fit();
  }

  line(entry, { measure, whole, phases, scale, search }) {
    const { name, several, value, calls } = entry;
    const share = percent(value, whole);
    const line = made("li", { title: `${name}\n${amount(measure, value)}, ${share} of all, ${grouped(calls)} calls` });
    const label = made(several ? "span" : "button", { class: "name", ...(several ? {} : { type: "button" }) });
    label.append(...breakable(name));
    const track = made("span", { class: "bars", "aria-hidden": "true" });
    track.style.setProperty("--zero", `${100 * scale(0)}%`);
    track.append(...this.bars(entry, { measure, whole, phases, scale }));
    line.append(label, track, made("span", { class: "value" }, amount(measure, value)), made("span", { class: "part" }, share));
    line.classList.toggle("faded", Boolean(search && !search.findsOperator(name)));
    if (!several) line.addEventListener("click", () => this.on.find(name));
    return line;
  }

  /** Makes the bars of the phases, one after another; what is below zero goes to the left. */
  bars({ phases: values }, { measure, whole, phases, scale }) {
    const ends = { up: 0, down: 0 };
    return phases.filter((phase) => values.get(phase)).map((phase) => {
      const value = values.get(phase);
      const way = value > 0 ? "up" : "down";
      const from = ends[way];
      ends[way] += value;
      const [left, right] = [from, ends[way]].map(scale).sort((one, other) => one - other);
      const title = `${phase}: ${amount(measure, value)} (${percent(value, whole)} of all)`;
      const bar = made("span", { title, "data-phase": phase });
      Object.assign(bar.style, { left: `${100 * left}%`, width: `${100 * (right - left)}%`, background: PHASES[phase] ?? OTHER_PHASE });
      return bar;
    });
  }

  /** Puts names above bars if they would leave these too little room. */
  fit() {
    const { element } = this;
    element.classList.remove("stacked");
    const bars = element.querySelector(".bars");
    const isStacked = bars && (bars.clientWidth < MIN_BAR_WIDTH || element.scrollWidth > element.clientWidth);
    element.classList.toggle("stacked", Boolean(isStacked));
  }
}

/** Returns a function from values to places between 0 and 1 along the bars. */
function barScale(entries) {
  const sum = (each, way) => [...each.phases.values()].filter((value) => way * value > 0).reduce((one, value) => one + value, 0);
  const most = Math.max(0, ...entries.map((each) => sum(each, 1)));
  const least = Math.min(0, ...entries.map((each) => sum(each, -1)));
  return (value) => (value - least) / (most - least || 1);
}

function sumOperators(entries) {
  const sum = { name: `${entries.length} others`, calls: 0, value: 0, phases: new Map(), several: true };
  for (const each of entries) {
    sum.calls += each.calls;
    sum.value += each.value;
    for (const [phase, value] of each.phases) sum.phases.set(phase, (sum.phases.get(phase) ?? 0) + value);
  }
  return sum;
}
