// The chart of live bytes after each operator, stacked by category, with the peak marked. A mouse or the arrow keys move
// over the operators; the one under the cursor is described in a label and, in full, below the chart.

const TIMELINE_HEIGHT = 300;
const MAX_PHASE_BANDS = 200;
const KEY_STEP = 20; // operators that Page Up and Page Down move by

class Timeline {
  /** @param on the callback: select(node) */
  constructor(element, words, facts, on) {
    Object.assign(this, { element, words, facts, on, index: null });
    element.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("focus", () => this.move(this.index ?? this.peakIndex()));
    element.addEventListener("blur", () => this.listening && Plotly.Fx.unhover(element));
  }

  get moments() {
    return this.facts.memory.moments;
  }

  total(index) {
    return this.facts.memory.timeline.reduce((sum, values) => sum + values[index], 0);
  }

  peakIndex() {
    let highest = 0;
    for (let index = 1; index < this.moments.length; index += 1) if (this.total(index) > this.total(highest)) highest = index;
    return highest;
  }

  /** Starts afresh, after another device was chosen. */
  reset() {
    this.index = null;
    this.range = undefined;
  }

  draw({ theme }) {
    const { element, moments } = this;
    if (!moments.length) {
      this.showMessage("No operator ran on this device.");
      return;
    }
    const numbers = moments.map(([number]) => number);
    // The last operator is as wide as the others.
    const closed = (values) => [...values, values.at(-1)];
    const x = [...numbers, numbers.at(-1) + 1];
    const traces = CATEGORIES.map(([name, color], index) => ({
      type: "scatter",
      mode: "lines",
      name,
      x,
      y: closed(this.facts.memory.timeline[index]),
      stackgroup: "live",
      line: { shape: "hv", width: 0.6, color: theme.panel },
      fillcolor: color,
      hoverinfo: "skip",
    })).filter(({ y }) => y.some((value) => value));
    const totals = moments.map((_, index) => this.total(index));
    this.curve = traces.length;
    traces.push({
      type: "scatter",
      mode: "lines",
      name: "all",
      x,
      y: closed(totals),
      line: { shape: "hv", width: 1, color: theme.ink },
      customdata: closed(moments.map((_, index) => this.hover(index))),
      hovertemplate: "%{customdata}<extra></extra>",
    });
    const { peak, at: moment } = this.facts.memory;
    const place = moment ? moment[0] : numbers[this.peakIndex()];
    traces.push({
      type: "scatter",
      mode: "markers",
      name: "peak",
      x: [place],
      y: [Number(readWhole(peak))],
      marker: { size: 9, color: theme.ink, line: { color: theme.panel, width: 1.5 } },
      cliponaxis: false,
      hoverinfo: "skip",
    });
    const layout = this.layout(theme, x, place);
    element.classList.remove("message");
    this.tell(this.index ?? this.peakIndex());
    Plotly.react(element, traces, layout, CHART_CONFIG);
    if (!this.listening) this.listen();
  }

  listen() {
    const { element } = this;
    this.listening = true;
    element.on("plotly_hover", (event) => {
      this.index = Math.min(event.points[0].pointNumber, this.moments.length - 1);
      this.tell(this.index);
    });
    element.on("plotly_click", () => this.pick());
    element.on("plotly_relayout", (change) => {
      if (change["xaxis.autorange"]) this.range = undefined;
      else if (change["xaxis.range[0]"] !== undefined) this.range = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    });
  }

  showMessage(words) {
    Plotly.purge(this.element);
    this.listening = false;
    this.element.replaceChildren(words);
    this.element.classList.add("message");
    this.element.setAttribute("aria-valuetext", words);
  }

  layout(theme, x, place) {
    const { peak } = this.facts.memory;
    const height = Number(readWhole(peak));
    const full = [x[0], x.at(-1)];
    const [from, to] = this.range ?? full;
    const part = (place - from) / (to - from);
    const label = { text: `peak ${scaled(readWhole(peak), "B")}`, font: { size: 12, color: theme.ink } };
    const named = { size: 11, color: theme.dim };
    return {
      ...themedLayout(theme),
      width: this.element.clientWidth,
      height: TIMELINE_HEIGHT,
      margin: { l: 64, r: 14, t: 8, b: 44 },
      showlegend: false,
      hovermode: "x",
      hoverdistance: -1,
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { range: [from, to], gridcolor: theme.line, zeroline: false, showgrid: false, tickformat: ",d", ticks: "outside",
        ticklen: 8, tickcolor: "rgba(0,0,0,0)",
        nticks: this.element.clientWidth < 420 ? 4 : 9, tickangle: 0, showspikes: true, spikemode: "across",
        spikethickness: -2, spikedash: "solid", spikecolor: theme.dim, // plotly draws a line two pixels wider behind it
        title: { text: "operators run", standoff: 8, font: named } },
      yaxis: { range: [0, height * 1.16 || 1], gridcolor: theme.line, zeroline: false, fixedrange: true,
        exponentformat: "SI extended", ticksuffix: "B", nticks: 6, tickangle: 0 },
      shapes: [
        ...this.phaseBands(x),
        { type: "line", xref: "paper", x0: 0, x1: 1, y0: height, y1: height, line: { color: theme.ink, width: 1, dash: "dot" } },
      ],
      annotations: [
        { ...label, name: "peak", x: place, y: height, xanchor: part > 0.5 ? "right" : "left", yanchor: "bottom",
          showarrow: false, bgcolor: theme.panel, borderpad: 1, yshift: 5 },
      ],
    };
  }

  /** Colors the stretches of each phase along the axis. */
  phaseBands(x) {
    const bands = [];
    this.moments.forEach(([number, , , phase], index) => {
      const last = bands.at(-1);
      const end = x[index + 1];
      if (last?.phase === phase) last.x1 = end;
      else bands.push({ phase, x0: number, x1: end });
    });
    if (bands.length > MAX_PHASE_BANDS) return [];
    return bands.map(({ phase, x0, x1 }) => ({
      type: "rect", yref: "paper", y0: -0.025, y1: -0.003, x0, x1, line: { width: 0 },
      fillcolor: PHASES[this.facts.strings[phase]] ?? OTHER_PHASE,
    }));
  }

  /** Lists the categories that are live at a moment: name, color, bytes. */
  parts(index) {
    return CATEGORIES.map(([name, color], category) => [name, color, this.facts.memory.timeline[category][index]]).filter(
      ([, , bytes]) => bytes,
    );
  }

  hover(index) {
    const { strings } = this.facts;
    const [, op, module, phase, source] = this.moments[index];
    const all = this.total(index);
    const lines = [`<b>${escaped(elided(strings[op], 60))}</b>`, `${escaped(elided(strings[module] || "(outside)", 60))} · ${escaped(strings[phase])}`];
    if (strings[source]) lines.push(escaped(elided(strings[source], 60)));
    lines.push(`<b>${grouped(all)} bytes</b>`);
    for (const [name, color, bytes] of this.parts(index)) {
      lines.push(`<span style="color:${color}">■</span> ${name} ${grouped(bytes)} (${percent(bytes, all)})`);
    }
    return lines.join("<br>");
  }

  /** Describes a moment in a sentence. */
  sentence(index) {
    const parts = this.parts(index).map(([name, , bytes]) => `${name} ${grouped(bytes)}`);
    const words = momentWords(this.moments[index], this.facts.strings);
    return `${grouped(this.total(index))} bytes ${words}${parts.length ? `: ${parts.join(", ")}` : ""}.`;
  }

  /** Says below the chart what was live at a moment. */
  tell(index) {
    this.words.replaceChildren(...breakable(this.sentence(index)));
    this.element.setAttribute("aria-valuemin", 1);
    this.element.setAttribute("aria-valuemax", this.moments.length);
    this.element.setAttribute("aria-valuenow", index + 1);
    this.element.setAttribute("aria-valuetext", this.sentence(index));
  }

  move(index) {
    if (!this.listening) return;
    const [from, to] = this.element.layout.xaxis.range;
    const [number] = this.moments[index];
    if (number < from || number > to) this.zoom(number - (to - from) / 2, number + (to - from) / 2);
    this.index = index;
    Plotly.Fx.hover(this.element, [{ curveNumber: this.curve, pointNumber: index }]);
    this.tell(index);
  }

  pick() {
    if (this.index === null) return;
    const node = this.moments[this.index].at(-1);
    if (node >= 0) this.on.select(node);
  }

  /** Shows the operators from one number to another, as far as there are any; without numbers, all. */
  zoom(from = -Infinity, to = Infinity) {
    const first = this.moments[0][0];
    const last = this.moments.at(-1)[0] + 1;
    const width = Math.min(Math.max(to - from, 1), last - first);
    const start = Math.min(Math.max(from, first), last - width);
    this.range = width < last - first ? [start, start + width] : undefined;
    Plotly.relayout(this.element, { "xaxis.range": [start, start + width] });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.listening) return;
    const last = this.moments.length - 1;
    const index = this.index ?? this.peakIndex();
    const [from, to] = this.element.layout.xaxis.range;
    const [number] = this.moments[index];
    const around = (width) => {
      this.zoom(number - width / 2, number + width / 2);
      this.move(index);
    };
    const by = (step) => this.move(Math.max(0, Math.min(last, index + step)));
    const keys = {
      ArrowRight: () => by(1),
      ArrowUp: () => by(1),
      ArrowLeft: () => by(-1),
      ArrowDown: () => by(-1),
      PageUp: () => by(KEY_STEP),
      PageDown: () => by(-KEY_STEP),
      Home: () => this.move(0),
      End: () => this.move(last),
      "+": () => around((to - from) / 2),
      "-": () => around((to - from) * 2),
      p: () => this.move(this.peakIndex()),
      Enter: () => this.pick(),
      Escape: () => this.zoom(),
    };
    const action = keys[event.key];
    // Escape leads back in the other charts if this one shows everything.
    if (!action || (event.key === "Escape" && !this.range)) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }
}
