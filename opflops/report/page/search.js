// Search for modules, types and operators by part of their names.

/** Holds which nodes a search finds, and which have a found node below. */
class Search {
  constructor(profile, words, root = EVERYTHING) {
    const inside = profile.within(root);
    this.words = words.trim().toLowerCase();
    this.found = new Uint8Array(profile.size);
    this.leadsToMatch = new Uint8Array(profile.size);
    this.count = 0;
    this.operators = new Set();
    const paths = new Array(profile.size);
    for (const node of profile.order) {
      const above = profile.parent[node];
      paths[node] = profile.path[node].toLowerCase();
      const own = `${profile.name[node]}\n${profile.type[node]}`.toLowerCase();
      // A dotted path matches the node where it ends, not also everything below.
      const ends = paths[node].includes(this.words) && !(above >= 0 && paths[above].includes(this.words));
      if (!inside[node] || profile.standsForSeveral(node)) continue; // what they stand for counts
      if (own.includes(this.words) || (ends && !profile.isOperator(node))) {
        this.found[node] = 1;
        this.count += 1;
      }
      if (profile.isOperator(node) && (this.found[node] || this.isInMatch(profile, node))) this.operators.add(profile.name[node]);
    }
    for (const node of profile.upward) {
      const above = profile.parent[node];
      if (above >= 0 && (this.found[node] || this.leadsToMatch[node])) this.leadsToMatch[above] = 1;
    }
  }

  /** Tells whether a node is in a module that is found. */
  isInMatch(profile, node) {
    return profile.ancestry(node).some((each) => this.found[each]);
  }

  /** Tells whether an operator is found, or runs in a module that is. */
  findsOperator(name) {
    return this.operators.has(name);
  }
}

/** Writes text into an element with every occurrence of the searched words marked. */
function marked(element, text, words) {
  if (!words) {
    element.append(text);
    return;
  }
  const lower = text.toLowerCase();
  let from = 0;
  // A letter whose lower case is longer would shift positions; such text is not marked.
  for (let at = lower.indexOf(words); at >= 0 && lower.length === text.length; at = lower.indexOf(words, from)) {
    const mark = document.createElement("mark");
    mark.append(text.slice(at, at + words.length));
    element.append(text.slice(from, at), mark);
    from = at + words.length;
  }
  element.append(text.slice(from));
}
