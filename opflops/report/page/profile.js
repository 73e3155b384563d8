// The recorded work: trees of modules with the operators that they ran as leaves, the rows of each operator, and sums of
// rows under filters. Nothing here draws.

const MODULE = 0;
const UNPRICED = 2;
const REPEATED = 3; // stands for equal modules side by side
const COSTLESS = 4; // stands for a module's operators without any cost
const MIN_COSTLESS = 2;
const MAX_EXPRESSION = 22; // longer ones are cut in cells
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
    this.outside = nodes.outside; // what stands for work under no module, or -1
    this.size = this.parent.length; // of the recorded nodes; those that stand for several follow
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
    this.path = new Array(this.size);
    for (let node = 0; node < this.size; node += 1) {
      const above = this.parent[node];
      const separator = this.kind[node] === MODULE ? "." : " ▸ ";
      this.path[node] = above < 0 ? this.name[node] : this.path[above] + separator + this.name[node];
    }
    for (const [name, members] of data.repeats) this.fold(members, strings[name], REPEATED);
    this.costless = new Set();
    for (const members of this.costlessOperators()) {
      for (const node of members) this.costless.add(node);
      if (members.length >= MIN_COSTLESS) this.fold(members, `${members.length} operators without cost`, COSTLESS);
    }
    this.arrange();
    this.withoutRows = this.nodesWithoutRows();
    this.top = this.roots.length === 1 ? this.roots[0] : EVERYTHING;
  }

  /** Puts nodes below a new one that stands for them. */
  fold(members, name, kind) {
    const [first] = members;
    const above = this.parent[first];
    const separator = kind === REPEATED ? "." : " ▸ ";
    this.path.push(above < 0 ? name : this.path[above] + separator + name);
    this.parent.push(above);
    this.kind.push(kind);
    this.name.push(name);
    this.type.push(kind === REPEATED ? this.type[first] : "");
    for (const node of members) this.parent[node] = this.size;
    this.size += 1;
  }

  /** Lists, for each module, its operators that cost nothing at all, such as views. */
  costlessOperators() {
    const costs = new Uint8Array(this.size);
    const names = ["macs", "ops", "transcendentals", "bytes_read", "bytes_written", "sent"];
    for (const counts of names.map((name) => this.rows[name])) {
      counts.forEach((count, row) => {
        if (Array.isArray(count) ? count.length : count) costs[this.rows.node[row]] = 1;
      });
    }
    const found = new Map();
    this.kind.forEach((kind, node) => {
      if (kind === MODULE || kind === UNPRICED || kind === REPEATED || costs[node]) return;
      const above = this.parent[node];
      if (found.has(above)) found.get(above).push(node);
      else found.set(above, [node]);
    });
    return found.values();
  }

  /** Lists what is below each node, in order of execution; costless operators and work outside modules come last. */
  arrange() {
    this.roots = [];
    this.children = Array.from({ length: this.size }, () => []);
    for (let node = 0; node < this.size; node += 1) {
      const above = this.parent[node];
      (above < 0 ? this.roots : this.children[above]).push(node);
    }
    const place = (node) => (this.kind[node] === REPEATED ? place(this.children[node][0]) : node);
    const last = (node) => this.kind[node] === COSTLESS || this.costless.has(node) || node === this.outside;
    for (const nodes of [this.roots, ...this.children]) {
      nodes.sort((one, other) => last(one) - last(other) || place(one) - place(other));
    }
    // Parents first. The recorded nodes alone would be in that order.
    this.order = [...this.roots];
    this.depth = new Array(this.size).fill(0);
    for (const node of this.order) {
      for (const child of this.children[node]) {
        this.depth[child] = this.depth[node] + 1;
        this.order.push(child);
      }
    }
    this.upward = this.order.toReversed();
  }

  /** Tells whether a node stands for several others, which are below it. */
  standsForSeveral(node) {
    return this.kind[node] === REPEATED || this.kind[node] === COSTLESS;
  }

  /** Lists the modules that a node stands for. */
  members(node) {
    return this.kind[node] === REPEATED ? this.children[node] : [node];
  }

  /** Marks a node and all below it; all nodes for EVERYTHING. */
  within(root) {
    const inside = new Uint8Array(this.size).fill(root === EVERYTHING ? 1 : 0);
    if (root === EVERYTHING) return inside;
    inside[root] = 1;
    for (const node of this.order) if (this.parent[node] >= 0 && inside[this.parent[node]]) inside[node] = 1;
    return inside;
  }

  /** Lists the modules in which nothing ran. */
  nodesWithoutRows() {
    const worked = new Uint8Array(this.size);
    for (const node of this.upward) {
      if (this.isOperator(node)) worked[node] = 1;
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
    return node >= 0 && this.kind[node] !== MODULE && this.kind[node] !== REPEATED;
  }

  /** Returns the module of an operator, and a module itself. */
  moduleOf(node) {
    let found = node;
    while (this.isOperator(found)) found = this.parent[found];
    return found;
  }

  /** Tells whether a node is another one or below it. */
  isWithin(node, root) {
    let above = node;
    while (above >= 0 && above !== root) above = this.parent[above];
    return root === EVERYTHING || above === root;
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

  /** Adds up the rows of a node and all below it that pass a filter. */
  totals(passes, root = EVERYTHING) {
    return new Totals(this, passes, root);
  }
}

/** The sums, for every node, of the rows below a root that pass a filter: own rows and all rows below. */
class Totals {
  constructor(profile, passes, root) {
    Object.assign(this, { profile, root, rows: [] });
    const { phase, dtype, rank } = profile;
    const inside = profile.within(root);
    for (let row = 0; row < phase.length; row += 1) {
      if (inside[profile.rows.node[row]] && passes(phase[row], dtype[row], rank[row])) this.rows.push(row);
    }
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
    for (const each of profile.upward) sums[parent[each] < 0 ? size : parent[each]] += sums[each];
    return sums;
  }

  /** Returns the coefficients of the terms of a sum, as BigInts. */
  coefficients(measure, node) {
    this.exactly[measure] ??= this.addUpExactly(measure);
    return this.exactly[measure][node === EVERYTHING ? this.profile.size : node];
  }

  addUpExactly(measure) {
    const { size, parent, rows, terms, upward } = this.profile;
    const sums = Array.from({ length: size + 1 }, () => new Array(terms.length).fill(0n));
    for (const [field, factor] of Object.entries(MEASURES[measure].of)) {
      for (const row of this.rows) {
        const sum = sums[rows.node[row]];
        for (const [term, coefficient] of rows[field][row]) sum[term] += BigInt(factor) * BigInt(coefficient);
      }
    }
    for (const each of upward) {
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
    if (!this.profile.symbolic) return amount(measure, this.coefficients(measure, node)[0]);
    const full = this.full(measure, node);
    return full.length > MAX_EXPRESSION ? this.leadingTerm(measure, node) : full;
  }

  /** Writes the term of an expression that is largest at the example sizes; the rest is dots. */
  leadingTerm(measure, node) {
    const { terms, denominator } = this.profile;
    const coefficients = this.coefficients(measure, node);
    const size = (term) => Math.abs(Number(coefficients[term]) * terms[term][1]);
    const largest = [...coefficients.keys()].reduce((one, other) => (size(other) > size(one) ? other : one));
    const alone = coefficients.map((coefficient, term) => (term === largest ? coefficient : 0n));
    const text = expression(alone, terms, denominator);
    return coefficients.filter((each) => each !== 0n).length > 1 ? `${text} + …` : text;
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
