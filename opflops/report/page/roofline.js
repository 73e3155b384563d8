// The roofline: operations a second against operations for each byte, one point for each operator and dtype. The roofs
// are a device's; a point is what was measured or, without times, the best that the device can do.

const SMALLEST_POINT = 7;
const LARGEST_POINT = 34;

class RooflineChart {
  constructor(element, legend, note, profile, device) {
    Object.assign(this, { element, legend, note, profile, device });
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
      const [flops, bytes] = [profile.rowValue("flops", row), profile.rowValue("bytes", row)];
      point.flops += flops;
      point.bytes += bytes;
      if (profile.timed) point.seconds += profile.rowValue("seconds", row);
      if (device) point.least += Math.max(flops ? flops / device.peaks[dtype] : 0, bytes / device.bandwidth);
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
        customdata: those.map((each) => this.hover(each, placed)),
        hovertemplate: "%{customdata}<extra></extra>",
        marker: {
          color: colour(dtype),
          opacity: 0.8,
          size: those.map((each) => SMALLEST_POINT + (LARGEST_POINT - SMALLEST_POINT) * Math.sqrt(each.weight / heaviest)),
          line: { color: theme.panel, width: 1 },
        },
      });
    }
    const axis = { type: "log", gridcolor: theme.line, zeroline: false, exponentformat: "SI extended", dtick: 1 };
    const layout = {
      ...themedLayout(theme),
      height: 320,
      margin: { l: 64, r: 14, t: 4, b: 44 },
      showlegend: false,
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, title: { text: "operations for each byte", standoff: 6 } },
      yaxis: { ...axis, title: { text: "FLOP/s", standoff: 4 } },
    };
    this.note.textContent = this.told(left);
    this.element.setAttribute("aria-label", `Roofline with ${placed.length} points. ${this.note.textContent}`);
    return Plotly.react(this.element, traces, layout, CHART_CONFIG);
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

  hover(point, placed) {
    const { profile, device } = this;
    const all = placed.reduce((sum, each) => sum + each.weight, 0);
    const lines = [`<b>${plain(point.name)}</b> in ${plain(point.dtype)}`];
    lines.push(`${scaled(point.flops)} flops, ${scaled(point.bytes, "B")}: ${scaled(point.intensity)} for each byte`);
    if (profile.timed) lines.push(`took ${scaled(point.seconds, "s")}: ${scaled(point.rate, "FLOP/s")}`);
    if (device) lines.push(`at least ${scaled(point.least, "s")} on ${plain(device.name)}`);
    lines.push(`${percent(point.weight, all)} of the time here`);
    return lines.join("<br>");
  }

  told(left) {
    const { profile, device } = this;
    const told = [];
    if (!profile.timed) told.push("Nothing was timed: points are on the roof, at the best the device can do.");
    else if (!device) told.push("Points are measured; without a device there is no roof.");
    told.push("Areas are shares of time. Bytes are those of each operator taken alone.");
    if (device?.tf32) told.push("float32 is taken to run in TF32.");
    if (left) told.push(`${left} ${left === 1 ? "operator does" : "operators do"} no operations and ${left === 1 ? "is" : "are"} left out.`);
    for (const dtype of device?.unknown ?? []) told.push(`No peak of ${device.name} is known for ${dtype}.`);
    if (profile.symbolic) told.push("Counts are those at the dimensions' examples.");
    return told.join(" ");
  }
}
