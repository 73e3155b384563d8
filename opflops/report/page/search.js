// Search for modules, types and operators by part of their names.

/** Holds which nodes a search finds, and which have a found node below. */
class Search {
  constructor(profile, words) {
    this.words = words.trim().toLowerCase();
    this.found = new Uint8Array(profile.size);
    this.leadsToMatch = new Uint8Array(profile.size);
    this.count = 0;
    const paths = new Array(profile.size);
    for (let node = 0; node < profile.size; node += 1) {
      const above = profile.parent[node];
      paths[node] = profile.path[node].toLowerCase();
      const own = `${profile.name[node]}\n${profile.type[node]}`.toLowerCase();
      // A dotted path matches the node where it ends, not also everything below.
      const ends = paths[node].includes(this.words) && !(above >= 0 && paths[above].includes(this.words));
      if (own.includes(this.words) || (ends && !profile.isOperator(node))) {
        this.found[node] = 1;
        this.count += 1;
      }
    }
    for (let node = profile.size - 1; node >= 0; node -= 1) {
      const above = profile.parent[node];
      if (above >= 0 && (this.found[node] || this.leadsToMatch[node])) this.leadsToMatch[above] = 1;
    }
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
