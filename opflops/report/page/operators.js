// The operators with the most work, one bar each, split by phase.

const MAX_OPERATORS = 20;
const BAR_HEIGHT = 24;
const MAX_NAME_LENGTH = 40;
const VALUE_WIDTH = 112; // pixels

class Operators {
  /** @param on the callback: find(operator) */
  constructor(element, legend, on) {
    Object.assign(this, { element, legend, on });
  }

  draw({ totals, measure, search, theme }) {
    const { unit, label } = MEASURES[measure];
    const all = totals.byOperator(measure).filter((each) => each.value !== 0);
    const bars = all.slice(0, MAX_OPERATORS);
    const others = all.slice(MAX_OPERATORS);
    if (others.length) bars.push(sumOperators(others));
    const whole = totals.value(measure, EVERYTHING);
    const isFound = (each) => !search || search.findsOperator(each.name);
    const positive = (each) => [...each.phases.values()].reduce((sum, part) => sum + Math.max(0, part), 0);
    const names = bars.map((each) => escaped(elided(each.name, MAX_NAME_LENGTH)));
    const drawn = new Set(bars.flatMap((each) => [...each.phases.keys()]));
    const phases = totals.profile.present("phase").filter((phase) => drawn.has(phase));
    showLegend(this.legend, phases.map((phase) => [phase, PHASES[phase] ?? OTHER_PHASE]));
    const traces = phases.map((phase) => ({
      type: "bar",
      orientation: "h",
      name: phase,
      y: bars.map((_, index) => index),
      x: bars.map((each) => each.phases.get(phase) ?? 0),
      customdata: bars.map((each) => {
        const part = each.phases.get(phase) ?? 0;
        return `<b>${escaped(each.name)}</b><br>${phase}: ${amount(measure, part)} ${unit ? "" : label} (${percent(part, whole)} of all)<br>`
          + `total: ${amount(measure, each.value)}, ${percent(each.value, whole)}, ${grouped(each.calls)} calls`;
      }),
      hovertemplate: "%{customdata}<extra></extra>",
      marker: { color: PHASES[phase] ?? OTHER_PHASE, opacity: bars.map((each) => (isFound(each) ? 1 : 0.25)) },
    }));
    // Values stand at the ends of the bars; a bar below zero ends at the axis.
    traces.push({
      type: "scatter",
      mode: "text",
      y: bars.map((_, index) => index),
      x: bars.map(positive),
      text: bars.map((each) => ` ${amount(measure, each.value)} · ${percent(each.value, whole)}`),
      textposition: "middle right",
      textfont: { size: 11, color: theme.dim },
      cliponaxis: false,
      hoverinfo: "skip",
    });
    const layout = {
      ...themedLayout(theme),
      barmode: "relative",
      bargap: 0.28,
      height: Math.max(1, bars.length) * BAR_HEIGHT + 44,
      margin: { l: 8, r: VALUE_WIDTH, t: 4, b: 36 },
      showlegend: false,
      xaxis: { gridcolor: theme.line, zerolinecolor: theme.line, fixedrange: true, exponentformat: "SI extended", nticks: this.element.clientWidth < 420 ? 4 : 6, tickangle: 0,
        ticksuffix: unit, title: { text: label, standoff: 4, font: { size: 11, color: theme.dim } } },
      yaxis: { autorange: "reversed", tickmode: "array", tickvals: names.map((_, index) => index), ticktext: names,
        automargin: true, fixedrange: true, ticks: "outside", ticklen: 6, tickcolor: "rgba(0,0,0,0)" },
    };
    const largest = bars.slice(0, 5).map((each) => `${each.name} ${percent(each.value, whole)}`);
    this.element.setAttribute("aria-label", `Operators by ${label}: ${largest.join(", ")}`);
    this.bars = bars;
    const done = Plotly.react(this.element, traces, layout, CHART_CONFIG);
    if (!this.listening) {
      this.listening = true;
      this.element.on("plotly_click", (event) => {
        const { name, several } = this.bars[event.points[0].y];
        if (!several) this.on.find(name);
      });
    }
    return done;
  }
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
