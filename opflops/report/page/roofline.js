// The roofline: FLOP/s against flops per byte, one point for each operator and dtype. The roofs are a device's; a point
// shows the measured rate or, without times, the best rate that the device can reach.

const MIN_POINT_SIZE = 7;
const MAX_POINT_SIZE = 34;

class RooflineChart {
  constructor(element, legend, least, note, profile, device) {
    Object.assign(this, { element, legend, least, note, profile, device });
  }

  /** Returns a row's flops and bytes, the lower bound on its time and, if timed, its time. */
  work(row) {
    const { profile, device } = this;
    const dtype = profile.dtype[row];
    const [flops, bytes] = [profile.rowValue("flops", row), profile.rowValue("bytes", row)];
    const known = !device || !flops || dtype in device.peaks;
    const least = device && known ? Math.max(flops ? flops / device.peaks[dtype] : 0, bytes / device.bandwidth) : 0;
    return { dtype, flops, bytes, known, least, seconds: profile.timed ? profile.rows.seconds[row] : null };
  }

  /** Adds up all rows, including integer ones, which are bounded by traffic only; omits dtypes without a peak. */
  whole(totals) {
    const { device } = this;
    const floating = totals.rows.map((row) => this.work(row));
    const integer = totals.integer.map((part) => ({ ...part, least: device ? part.bytes / device.bandwidth : 0 }));
    const all = [...floating, ...integer];
    const sum = (parts, name) => parts.reduce((one, part) => one + (part[name] ?? 0), 0);
    return {
      least: sum(all, "least"),
      took: sum(all, "seconds"),
      integer: { least: sum(integer, "least"), took: sum(integer, "seconds") },
      unknown: [...new Set(floating.filter((each) => !each.known).map((each) => each.dtype))],
      untimed: floating.some((each) => each.seconds === null && (each.flops || each.bytes)) || integer.some((each) => each.untimed),
      negative: all.some((each) => each.flops < 0 || each.bytes < 0 || each.seconds < 0),
    };
  }

  /** Writes the lower bound on the total time and, if timed, the time. */
  showTimes(totals) {
    const { profile, device } = this;
    const { integer, least, took, unknown, untimed, negative } = this.whole(totals);
    this.element.hidden = this.note.hidden = negative;
    if (negative) {
      this.least.textContent = "Some counts are negative, as in a difference, so there is no time.";
      return;
    }
    const written = (time, part) => [
      made("strong", {}, duration(time)),
      part ? ` (${duration(part)} of it for integer work)` : "",
    ];
    const words = device ? ["At least ", ...written(least, integer.least)] : [];
    if (unknown.length) words.push(`, without ${unknown.join(" and ")}`);
    if (profile.timed) words.push(device ? "; took " : "Took ", ...written(took, integer.took));
    if (profile.timed && untimed) words.push(", partly untimed");
    else if (device && took && !unknown.length) words.push(`, reaching ${fixed((100 * least) / took, 1)} % of the bound`);
    this.least.replaceChildren(...words, ".");
  }

  /** Adds up rows to points, and counts operators without flops, which have no point. */
  points(totals) {
    const { profile, device } = this;
    const found = new Map();
    for (const row of totals.rows) {
      const name = profile.name[profile.rows.node[row]];
      const dtype = profile.dtype[row];
      const key = JSON.stringify([name, dtype]);
      const point = found.get(key) ?? { name, dtype, flops: 0, bytes: 0, seconds: 0, least: 0 };
      const work = this.work(row);
      for (const sum of ["flops", "bytes", "seconds", "least"]) point[sum] += work[sum] ?? 0;
      found.set(key, point);
    }
    const all = [...found.values()];
    const placed = all.filter((each) => each.flops > 0 && each.bytes > 0 && (!profile.timed || each.seconds > 0)
      && (!device || each.dtype in device.peaks));
    for (const each of placed) {
      each.intensity = each.flops / each.bytes;
      const roof = device ? Math.min(device.peaks[each.dtype], each.intensity * device.bandwidth) : NaN;
      each.rate = profile.timed ? each.flops / each.seconds : roof;
      each.weight = profile.timed ? each.seconds : each.least;
    }
    return { placed, left: all.filter((each) => !(each.flops > 0)).length };
  }

  draw({ totals, theme }) {
    const { profile, device } = this;
    const { took, least, negative } = this.whole(totals);
    if (negative) return;
    const { placed, left } = this.points(totals);
    const heaviest = Math.max(...placed.map((each) => each.weight), 0);
    const dtypes = [...new Set(placed.map((each) => each.dtype))];
    const color = (dtype) => PALETTE[profile.present("dtype").indexOf(dtype) % PALETTE.length];
    showLegend(this.legend, dtypes.map((dtype) => [dtype, color(dtype)]));
    const traces = device ? dtypes.map((dtype) => this.roof(dtype, placed, color(dtype))) : [];
    for (const dtype of dtypes) {
      const those = placed.filter((each) => each.dtype === dtype);
      traces.push({
        type: "scatter",
        mode: "markers",
        name: dtype,
        x: those.map((each) => each.intensity),
        y: those.map((each) => each.rate),
        customdata: those.map((each) => this.hover(each, profile.timed ? took : least)),
        hovertemplate: "%{customdata}<extra></extra>",
        marker: {
          color: color(dtype),
          opacity: 0.8,
          size: those.map((each) => MIN_POINT_SIZE + (MAX_POINT_SIZE - MIN_POINT_SIZE) * Math.sqrt(each.weight / heaviest)),
          line: { color: theme.panel, width: 1 },
        },
      });
    }
    const named = { size: 11, color: theme.dim };
    const axis = { type: "log", gridcolor: theme.line, zeroline: false, exponentformat: "SI extended", dtick: 1 };
    const layout = {
      ...themedLayout(theme),
      width: this.element.clientWidth,
      height: 320,
      margin: { l: 64, r: 14, t: 4, b: 44 },
      showlegend: false,
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, title: { text: "flops per byte", standoff: 6, font: named } },
      yaxis: { ...axis, title: { text: "FLOP/s", standoff: 4, font: named } },
    };
    this.note.textContent = this.notes(totals, left);
    this.element.setAttribute("aria-label", `Roofline with ${placed.length} points. ${this.note.textContent}`);
    Plotly.react(this.element, traces, layout, CHART_CONFIG);
  }

  roof(dtype, placed, color) {
    const { device } = this;
    const peak = device.peaks[dtype];
    const ridge = peak / device.bandwidth;
    const ridges = Object.values(device.peaks).map((each) => each / device.bandwidth);
    const from = Math.min(...ridges.map((each) => each / 10), ...placed.map((each) => each.intensity / 2));
    const to = Math.max(...ridges.map((each) => each * 10), ...placed.map((each) => each.intensity * 2));
    return {
      type: "scatter",
      mode: "lines",
      name: dtype,
      x: [from, ridge, to],
      y: [from * device.bandwidth, peak, peak],
      line: { color, width: 2 },
      hovertemplate: `${escaped(device.name)}: ${scaled(peak, "FLOP/s")} in ${escaped(dtype)}, ${scaled(device.bandwidth, "B/s")}<extra></extra>`,
    };
  }

  hover(point, all) {
    const { profile, device } = this;
    const lines = [`<b>${escaped(point.name)}</b> in ${escaped(point.dtype)}`];
    lines.push(`${scaled(point.flops)} flops, ${scaled(point.bytes, "B")}: ${quotient(point.intensity)} per byte`);
    if (profile.timed) lines.push(`took ${duration(point.seconds)}: ${scaled(point.rate, "FLOP/s")}`);
    if (device) lines.push(`at least ${duration(point.least)} on ${escaped(device.name)}`);
    lines.push(`${percent(point.weight, all)} of the time`);
    return lines.join("<br>");
  }

  notes(totals, left) {
    const { profile, device } = this;
    const sentences = [];
    if (!profile.timed) sentences.push("Nothing was timed, so points are on the roof, at the best rate of the device.");
    else if (!device) sentences.push("Points are measured. Choose a device to draw its roof.");
    sentences.push("Areas show shares of time. Bytes are counted for each operator alone.");
    if (device?.tf32) sentences.push("float32 is assumed to run in TF32.");
    if (totals.integer.length) sentences.push("Integer work counts by its bytes only and has no point.");
    if (left) sentences.push(`${left} ${left === 1 ? "operator has" : "operators have"} no flops and no point.`);
    for (const dtype of device?.unknown ?? []) sentences.push(`No peak of ${device.name} is known for ${dtype}.`);
    if (profile.symbolic) sentences.push("Counts are for the example sizes.");
    return sentences.join(" ");
  }
}
