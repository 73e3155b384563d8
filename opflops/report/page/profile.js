// The recorded work: trees of modules with the operators that they ran as leaves, the rows of each operator, and sums of
// rows under filters. Nothing here draws.

const UNPRICED = 2;
const MODULE = 0;
const EVERYTHING = -1; // the parent of the outermost modules

/** The measures: names, unit, and the recorded counts that they are sums of, each with a factor. */
const MEASURES = {
  flops: { label: "flops", heading: "FLOPs", unit: "", of: { macs: 2, ops: 1 } },
  macs: { label: "macs", heading: "MACs", unit: "", of: { macs: 1 } },
  transcendentals: { label: "transcendentals", column: "transc.", heading: "Transcendentals", unit: "", of: { transcendentals: 1 } },
  bytes: { label: "bytes", heading: "Bytes moved", unit: "B", of: { bytes_read: 1, bytes_written: 1 } },
  seconds: { label: "time", heading: "Time", unit: "s", of: { seconds: 1 } },
  activations: { label: "activations", column: "activ.", heading: "Activations", unit: "", of: { activations: 1 } },
  sent: { label: "sent", heading: "Bytes sent", unit: "B", of: { sent: 1 } },
  calls: { label: "calls", heading: "Calls", unit: "", of: { calls: 1 } },
};

/** Sums that say how times were taken: how many rows were timed, in repeated runs or in a single call. */
const OF_TIMES = {
  spread: { of: { spread: 1 } },
  timed: { of: { timed: 1 } },
  repeated: { of: { repeated: 1 } },
  once: { of: { once: 1 } },
};

/** Writes a value of a measure for a cell. */
function amount(measure, value) {
  return measure === "seconds" ? duration(value) : scaled(value, MEASURES[measure].unit);
}

class Profile {
  constructor(data) {
    const { strings, nodes, rows, counts } = data;
    this.rows = rows;
    this.parent = nodes.parent;
    this.kind = nodes.kind;
    this.name = nodes.name.map((index) => strings[index]);
    this.type = nodes.type.map((index) => strings[index]);
    this.estimates = nodes.estimates;
    this.size = this.parent.length;
    this.phase = rows.phase.map((index) => strings[index]);
    this.dtype = rows.dtype.map((index) => strings[index]);
    this.rank = (rows.rank ?? []).map((index) => strings[index]);
    this.timed = "seconds" in rows;
    const any = (counts) => counts.some((count) => (Array.isArray(count) ? count.length : count));
    this.withActivations = any(rows.activations);
    this.withSent = any(rows.sent);
    this.integer = data.integer;
    this.terms = counts.terms;
    this.denominator = BigInt(counts.denominator ?? 1);
    this.sizes = counts.sizes ?? {};
    this.symbolic = Object.keys(this.sizes).length > 0;
    this.columns = {};
    this.roots = [];
    this.children = Array.from({ length: this.size }, () => []);
    this.path = new Array(this.size);
    this.depth = new Array(this.size);
    for (let node = 0; node < this.size; node += 1) {
      const above = this.parent[node];
      (above < 0 ? this.roots : this.children[above]).push(node);
      this.depth[node] = above < 0 ? 0 : this.depth[above] + 1;
      const separator = this.kind[node] === MODULE ? "." : " ▸ ";
      this.path[node] = above < 0 ? this.name[node] : this.path[above] + separator + this.name[node];
    }
    this.withoutRows = this.nodesWithoutRows();
    this.top = this.roots.length === 1 ? this.roots[0] : EVERYTHING;
  }

  /** Lists the modules in which nothing ran. */
  nodesWithoutRows() {
    const worked = new Uint8Array(this.size);
    for (let node = this.size - 1; node >= 0; node -= 1) {
      if (this.kind[node] !== MODULE) worked[node] = 1;
      if (worked[node] && this.parent[node] >= 0) worked[this.parent[node]] = 1;
    }
    return [...worked.keys()].filter((node) => !worked[node]);
  }

  get examples() {
    return Object.entries(this.sizes).map(([name, size]) => `${name} = ${size}`).join(", ");
  }

  get measures() {
    const missing = { seconds: !this.timed, activations: !this.withActivations, sent: !this.withSent };
    return Object.keys(MEASURES).filter((name) => !missing[name]);
  }

  isOperator(node) {
    return node >= 0 && this.kind[node] !== MODULE;
  }

  below(node) {
    return node === EVERYTHING ? this.roots : this.children[node];
  }

  above(node) {
    return node === EVERYTHING || node === this.top ? EVERYTHING : this.parent[node];
  }

  /** Lists the modules from the outermost one to a node. */
  ancestry(node) {
    const found = [];
    for (let each = node; each >= 0; each = this.parent[each]) found.unshift(each);
    return found;
  }

  /** Returns the type of a module unless its name already says it. */
  typeBeside(node) {
    const type = this.type[node];
    return type && type !== this.name[node].replace(/#.*$/, "").replace(/\(\)$/, "") ? type : "";
  }

  /** Lists the values of a key of rows, in order of first appearance. */
  present(key) {
    return [...new Set(this[key])];
  }

  /** Returns a row's count of a measure as a number; an expression is evaluated at the example sizes. */
  rowValue(measure, row) {
    this.columns[measure] ??= this.column(measure);
    return this.columns[measure][row];
  }

  column(measure) {
    const values = new Float64Array(this.phase.length);
    for (const [field, factor] of Object.entries((MEASURES[measure] ?? OF_TIMES[measure]).of)) {
      this.rows[field].forEach((count, row) => {
        values[row] += factor * (Array.isArray(count) ? this.evaluated(count) : (count ?? 0));
      });
    }
    return values;
  }

  evaluated(count) {
    let value = 0;
    for (const [term, coefficient] of count) value += Number(coefficient) * this.terms[term][1];
    return value / Number(this.denominator);
  }

  /** Adds up the rows that pass a filter. */
  totals(passes) {
    return new Totals(this, passes);
  }
}

/** The sums, for every node, of the rows that pass a filter: own rows and all rows below. */
class Totals {
  constructor(profile, passes) {
    this.profile = profile;
    this.rows = [];
    const { phase, dtype, rank } = profile;
    for (let row = 0; row < phase.length; row += 1) if (passes(phase[row], dtype[row], rank[row])) this.rows.push(row);
    this.integer = profile.integer.filter((part) => passes(part.phase, null));
    this.present = this.nodesWithRows();
    // Modules that never have rows are there for their parameters, and no filter hides them.
    if (this.rows.length) for (const node of profile.withoutRows) this.present[node] = 1;
    this.numbers = {};
    this.exactly = {};
  }

  /** Marks the nodes with rows. Sums cannot tell: in a difference of profiles they may be 0, even the calls. */
  nodesWithRows() {
    const { parent, rows } = this.profile;
    const present = new Uint8Array(this.profile.size);
    for (const row of this.rows) {
      for (let node = rows.node[row]; node >= 0 && !present[node]; node = parent[node]) present[node] = 1;
    }
    return present;
  }

  /** Returns a sum as a number: exact, or evaluated at the example sizes for expressions. */
  value(measure, node) {
    this.numbers[measure] ??= this.addUp(measure);
    return this.numbers[measure][node === EVERYTHING ? this.profile.size : node];
  }

  addUp(measure) {
    const { profile } = this;
    const { size, parent } = profile;
    const { node } = profile.rows;
    const sums = new Float64Array(size + 1);
    for (const row of this.rows) sums[node[row]] += profile.rowValue(measure, row);
    for (let each = size - 1; each >= 0; each -= 1) sums[parent[each] < 0 ? size : parent[each]] += sums[each];
    return sums;
  }

  /** Returns the coefficients of the terms of a sum, as BigInts. */
  coefficients(measure, node) {
    this.exactly[measure] ??= this.addUpExactly(measure);
    return this.exactly[measure][node === EVERYTHING ? this.profile.size : node];
  }

  addUpExactly(measure) {
    const { size, parent, rows, terms } = this.profile;
    const sums = Array.from({ length: size + 1 }, () => new Array(terms.length).fill(0n));
    for (const [field, factor] of Object.entries(MEASURES[measure].of)) {
      for (const row of this.rows) {
        const sum = sums[rows.node[row]];
        for (const [term, coefficient] of rows[field][row]) sum[term] += BigInt(factor) * BigInt(coefficient);
      }
    }
    for (let each = size - 1; each >= 0; each -= 1) {
      const parentSum = sums[parent[each] < 0 ? size : parent[each]];
      sums[each].forEach((coefficient, term) => (parentSum[term] += coefficient));
    }
    return sums;
  }

  hasTerms(measure) {
    return this.profile.terms !== undefined && measure !== "seconds" && measure !== "calls";
  }

  /** Writes a sum for a cell. */
  short(measure, node) {
    if (!this.hasTerms(measure)) return amount(measure, this.value(measure, node));
    return this.profile.symbolic ? this.full(measure, node) : amount(measure, this.coefficients(measure, node)[0]);
  }

  /** Writes a sum in full. */
  full(measure, node) {
    const { terms, denominator } = this.profile;
    if (this.hasTerms(measure)) return expression(this.coefficients(measure, node), terms, denominator);
    const value = this.value(measure, node);
    return measure === "seconds" ? `${value.toPrecision(6)} s` : grouped(value);
  }

  /** Writes a sum in full with its unit and, for an expression, its value at the example sizes. */
  describe(measure, node) {
    const { label } = MEASURES[measure];
    const full = this.full(measure, node);
    if (!this.profile.symbolic || !this.hasTerms(measure)) {
      return measure === "seconds" ? full + this.howTimed(node) : `${full} ${label}`;
    }
    return `${full} ${label}; ${scaled(this.value(measure, node))} at ${this.profile.examples}`;
  }

  /** Says how a time was taken: its spread over repeated runs, or that it is of a single call. */
  howTimed(node) {
    const [timed, repeated, once] = ["timed", "repeated", "once"].map((name) => this.value(name, node));
    if (timed > 0 && repeated === timed) return `, spread ${this.value("spread", node).toPrecision(3)} s over repeated runs`;
    return timed > 0 && once === timed ? ", timed in a single call" : "";
  }

  /** Sums a measure by operator and phase, with the calls of each operator; largest first. */
  byOperator(measure) {
    const { profile } = this;
    const found = new Map();
    for (const row of this.rows) {
      const leaf = profile.rows.node[row];
      const key = profile.name[leaf];
      const entry = found.get(key) ?? { name: key, calls: 0, value: 0, phases: new Map(), priced: true };
      const value = profile.rowValue(measure, row);
      entry.calls += profile.rows.calls[row];
      entry.value += value;
      entry.priced &&= profile.kind[leaf] !== UNPRICED;
      entry.phases.set(profile.phase[row], (entry.phases.get(profile.phase[row]) ?? 0) + value);
      found.set(key, entry);
    }
    return [...found.values()].sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
  }
}
