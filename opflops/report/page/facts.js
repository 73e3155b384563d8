// What is known of modules beside their work: parameters, the shapes of calls, and what they keep in memory. No filter
// changes it.

const FACTS = { params: "params", saved: "saved", peak: "peak" };

/** Reads a whole number; one that a float cannot hold is text. */
function readWhole(value) {
  return typeof value === "string" ? BigInt(value) : value;
}

/** Adds numbers up, of which some may be BigInts. */
function added(values) {
  if (values.every((each) => typeof each === "number")) return values.reduce((sum, each) => sum + each, 0);
  return values.reduce((sum, each) => sum + BigInt(each), 0n);
}

class Facts {
  /** @param device the index of the device whose memory is shown */
  constructor(data, profile, device = 0) {
    Object.assign(this, { data, profile, device });
    this.strings = data.strings;
  }

  get columns() {
    return [...(this.data.modules ? ["params"] : []), ...(this.data.memory.length ? ["saved", "peak"] : [])];
  }

  /** Returns what is kept in memory on the chosen device, or undefined. */
  get memory() {
    return this.data.memory[this.device];
  }

  /** Returns a sum over a module and those below it, such as of parameters; undefined for an operator. */
  sum(name, node) {
    const { sums, total, nodes } = this.data.modules;
    if (node === EVERYTHING) return readWhole(total[sums.indexOf(name)]);
    const known = this.profile.members(node).map((each) => nodes[each]);
    return known.includes(undefined) ? undefined : added(known.map((values) => readWhole(values[sums.indexOf(name)])));
  }

  /** Returns the parameters that a module registers itself. */
  own(node) {
    return added(this.profile.members(node).map((each) => readWhole(this.data.modules.nodes[each].at(-1))));
  }

  /** Returns a number of a column; undefined where there is none, as for operators. */
  value(column, node) {
    if (column === "params") return this.sum("parameters", node);
    const { memory } = this;
    if (node === EVERYTHING) return readWhole(column === "saved" ? memory.saved_in_all : memory.peak);
    const numbers = column === "saved" ? memory.saved : memory.peaks;
    const found = this.profile.members(node).map((each) => numbers[each]).filter((each) => each !== undefined).map(readWhole);
    if (found.length) return column === "saved" ? added(found) : found.reduce((one, other) => (other > one ? other : one));
    return column === "saved" && !this.profile.isOperator(node) ? 0 : undefined;
  }

  /** Writes a number of a column for a cell. */
  short(column, node) {
    const value = this.value(column, node);
    if (value === undefined) return "";
    // As text reports mark them.
    return column === "params" ? `${this.sharedBy(node).length ? "*" : ""}${scaled(value)}` : scaled(value, "B");
  }

  /** Writes a number of a column in full. */
  describe(column, node) {
    const value = this.value(column, node);
    if (value === undefined) return "";
    if (column === "params") return [`${grouped(value)} parameters`, ...this.sharedBy(node)].join("; ");
    const full = `${grouped(value)} bytes`;
    if (column === "saved") return `${full} kept for the backward pass`;
    return node === EVERYTHING ? `${full} at the peak` : `${full} at the most while it ran`;
  }

  /** Says which parameters of a module count for another one. */
  sharedBy(node) {
    return this.profile.members(node).flatMap((each) => this.data.modules?.shared[each] ?? []).map(
      ([name, owner, elements]) =>
        `${this.strings[name]} (${grouped(readWhole(elements))}) is shared and counts for ${this.strings[owner]}`,
    );
  }

  /** Lists what calls of a module were given and returned: inputs, outputs, how often. */
  calls(node) {
    const [first] = this.profile.members(node);
    return (this.data.modules?.calls[first] ?? []).map(([inputs, outputs, times]) => ({
      inputs: this.strings[inputs],
      outputs: this.strings[outputs],
      times,
    }));
  }

  /** Writes the shapes of a module's calls, a line for each. */
  shapes(node) {
    return this.calls(node).map(({ inputs, outputs, times }) => {
      const often = times === 1 ? "" : ` (${grouped(times)} calls)`;
      return inputs === undefined ? `other shapes${often || " (1 call)"}` : `${inputs} → ${outputs}${often}`;
    });
  }

  /** Lists what there is to say of a module, as pairs of a heading and lines of text. */
  details(node) {
    const found = [];
    if (this.profile.isOperator(node)) return found;
    if (this.data.modules?.nodes[this.profile.members(node)[0]]) found.push(["parameters", this.parameterLines(node)]);
    const shapes = this.shapes(node);
    const each = this.profile.members(node).length > 1 ? " of each" : "";
    if (shapes.length) found.push([`input → output${each}`, shapes]);
    if (this.memory) {
      const lines = [`${grouped(this.value("saved", node))} bytes kept for the backward pass`];
      const peak = this.value("peak", node);
      if (peak !== undefined) lines.push(`at most ${grouped(peak)} bytes live while it ran`);
      found.push(["memory", lines]);
    }
    return found;
  }

  parameterLines(node) {
    const [count, trainable, buffers] = ["parameters", "trainable", "buffers"].map((name) => this.sum(name, node));
    const bytes = (name) => scaled(this.sum(name, node), "B");
    const own = this.own(node);
    const lines = [grouped(count)];
    if (count) {
      lines[0] += ` (${bytes("parameter_bytes")})`;
      if (own !== count) lines[0] += `, ${own ? grouped(own) : "none"} of them its own`;
      lines[0] += trainable === count ? ", all trainable" : `, ${trainable ? grouped(trainable) : "none"} trainable`;
    }
    if (buffers) lines.push(`${grouped(buffers)} elements of buffers (${bytes("buffer_bytes")})`);
    return [...lines, ...this.sharedBy(node)];
  }
}
