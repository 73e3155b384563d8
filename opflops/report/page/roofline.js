// The roofline: operations a second against operations for each byte, one point for each operator and dtype. The roofs
// are a device's; a point is what was measured or, without times, the best that the device can do.

const SMALLEST_POINT = 7;
const LARGEST_POINT = 34;

class RooflineChart {
  constructor(element, legend, least, note, profile, device) {
    Object.assign(this, { element, legend, least, note, profile, device });
  }

  /** Returns what a row does and moves, what that takes at least and, if timed, what it took. */
  work(row) {
    const { profile, device } = this;
    const dtype = profile.dtype[row];
    const [flops, bytes] = [profile.rowValue("flops", row), profile.rowValue("bytes", row)];
    const known = !device || !flops || dtype in device.peaks;
    const least = device && known ? Math.max(flops ? flops / device.peaks[dtype] : 0, bytes / device.bandwidth) : 0;
    return { dtype, flops, bytes, known, least, seconds: profile.timed ? profile.rows.seconds[row] : null };
  }

  /** Adds up all rows, those of integers too, whose traffic alone bounds the time; a dtype without a peak is left out. */
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

  /** Says how long all of it takes at least and, if timed, how long it took. */
  tell(totals) {
    const { profile, device } = this;
    const { integer, least, took, unknown, untimed, negative } = this.whole(totals);
    this.element.hidden = this.note.hidden = negative;
    if (negative) {
      this.least.textContent = "Some counts here are below zero, as those of a difference, and take no time.";
      return;
    }
    const told = (time, part) => [
      made("strong", {}, duration(time)),
      part ? ` (${duration(part)} of it for integers)` : "",
    ];
    const words = device ? ["At least ", ...told(least, integer.least)] : [];
    if (unknown.length) words.push(`, without ${unknown.join(" and ")}`);
    if (profile.timed) words.push(device ? "; took " : "Took ", ...told(took, integer.took));
    if (profile.timed && untimed) words.push(", not all of it timed");
    else if (device && took && !unknown.length) words.push(`, attaining ${fixed((100 * least) / took, 1)} % of the bound`);
    this.least.replaceChildren(...words, ".");
  }

  /** Adds rows up to points; those without operations or traffic have no place here and are counted. */
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
    const colour = (dtype) => PALETTE[profile.present("dtype").indexOf(dtype) % PALETTE.length];
    showLegend(this.legend, dtypes.map((dtype) => [dtype, colour(dtype)]));
    const traces = device ? dtypes.map((dtype) => this.roof(dtype, placed, colour(dtype))) : [];
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
          color: colour(dtype),
          opacity: 0.8,
          size: those.map((each) => SMALLEST_POINT + (LARGEST_POINT - SMALLEST_POINT) * Math.sqrt(each.weight / heaviest)),
          line: { color: theme.panel, width: 1 },
        },
      });
    }
    const named = { size: 11, color: theme.dim };
    const axis = { type: "log", gridcolor: theme.line, zeroline: false, exponentformat: "SI extended", dtick: 1 };
    const layout = {
      ...themedLayout(theme),
      height: 320,
      margin: { l: 64, r: 14, t: 4, b: 44 },
      showlegend: false,
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, title: { text: "operations for each byte", standoff: 6, font: named } },
      yaxis: { ...axis, title: { text: "FLOP/s", standoff: 4, font: named } },
    };
    this.note.textContent = this.told(totals, left);
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
      hovertemplate: `${plain(device.name)}: ${scaled(peak, "FLOP/s")} in ${plain(dtype)}, ${scaled(device.bandwidth, "B/s")}<extra></extra>`,
    };
  }

  hover(point, all) {
    const { profile, device } = this;
    const lines = [`<b>${plain(point.name)}</b> in ${plain(point.dtype)}`];
    lines.push(`${scaled(point.flops)} flops, ${scaled(point.bytes, "B")}: ${quotient(point.intensity)} for each byte`);
    if (profile.timed) lines.push(`took ${duration(point.seconds)}: ${scaled(point.rate, "FLOP/s")}`);
    if (device) lines.push(`at least ${duration(point.least)} on ${plain(device.name)}`);
    lines.push(`${percent(point.weight, all)} of the time`);
    return lines.join("<br>");
  }

  told(totals, left) {
    const { profile, device } = this;
    const told = [];
    if (!profile.timed) told.push("Nothing was timed: points are on the roof, at the best the device can do.");
    else if (!device) told.push("Points are measured; without a device there is no roof.");
    told.push("Areas are shares of time. Bytes are those of each operator taken alone.");
    if (device?.tf32) told.push("float32 is taken to run in TF32.");
    if (totals.integer.length) told.push("Work on integers has traffic alone and no point here.");
    if (left) told.push(`${left} ${left === 1 ? "operator does" : "operators do"} no operations and ${left === 1 ? "is" : "are"} left out.`);
    for (const dtype of device?.unknown ?? []) told.push(`No peak of ${device.name} is known for ${dtype}.`);
    if (profile.symbolic) told.push("Counts are those at the dimensions' examples.");
    return told.join(" ");
  }
}
