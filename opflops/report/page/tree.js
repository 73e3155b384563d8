// The module tree as an ARIA treegrid with sorting, search and keyboard navigation. Only rows in view are in the document,
// so a node may have any number of children.

const SPARE_ROWS = 12; // rendered beyond both edges of the view
const MIN_FIRST_ROWS = 12; // at first, levels are opened at least until so many rows are shown
const MAX_FIRST_ROWS = 40; // at first, further levels are opened as long as no more rows are shown
const PAGE_STEP = 15;

class ModuleTree {
  /**
   * @param scroller the element to fill
   * @param facts what is known of modules beside their work, which has columns too
   * @param on the callbacks: select(node), zoom(node)
   */
  constructor(scroller, profile, facts, colors, on) {
    Object.assign(this, { scroller, profile, facts, on });
    this.columns = profile.measures;
    this.cells = new Cells(profile, facts, colors, this.columns);
    this.sort = { by: null, descending: true };
    this.open = new Set();
    this.active = null;
    this.search = null;
    this.build();
    this.layout = new TreeColumns(scroller, this.cells);
    scroller.addEventListener("scroll", () => this.render(), { passive: true });
    onWidth(scroller, () => this.fit());
    new ResizeObserver(() => this.render()).observe(scroller); // another height
  }

  build() {
    this.table = made("table", { role: "treegrid", "aria-label": "Modules and operators" });
    const headings = made("tr", { role: "row", "aria-rowindex": 1 });
    this.headings = new Map();
    const columns = this.columns.map((name) => [name, MEASURES[name].column ?? MEASURES[name].label]);
    const facts = this.facts.columns.map((name) => [name, FACTS[name]]);
    const names = [["name", "Module / operator"], ["share", "Share"], ...columns, ...facts];
    for (const [name, label] of names) {
      const button = made("button", { type: "button" }, label);
      const heading = made("th", { role: "columnheader", scope: "col", "aria-sort": "none", class: name, "data-column": name });
      if (MEASURES[name]?.column) button.title = MEASURES[name].label;
      heading.append(button);
      button.addEventListener("click", () => this.sortBy(name));
      headings.append(heading);
      this.headings.set(name, heading);
    }
    const head = made("thead", { role: "rowgroup" });
    head.append(headings);
    this.body = made("tbody", { role: "rowgroup" });
    this.foot = made("tfoot", { role: "rowgroup" });
    this.table.append(head, this.body, this.foot);
    this.scroller.replaceChildren(this.table);
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("dblclick", (event) => {
      const node = this.nodeAt(event);
      if (node !== null) this.on.zoom(node);
    });
    this.body.addEventListener("focusin", (event) => {
      const node = this.nodeAt(event);
      if (node !== null && node !== this.active) this.activate(node);
    });
  }

  /** Shows sums, and shares of a measure. */
  show(totals, measure) {
    this.totals = totals;
    this.measure = measure;
    this.cells.setTotals(totals, measure);
    this.layout.reset();
    for (const name of this.columns) this.headings.get(name).classList.toggle("chosen", name === measure);
    if (!this.open.size) this.openFirst();
    this.arrange();
  }

  /** Shows only a node and what is below it. */
  zoom(root) {
    this.open.add(root);
    this.scroller.scrollTop = 0;
  }

  /** Lists the outermost nodes that are shown. */
  get tops() {
    const { root } = this.totals;
    return root === EVERYTHING || root === this.profile.top ? this.profile.roots : [root];
  }

  /** Opens as many levels as fit a screen, or one more if too few rows would be shown. */
  openFirst() {
    let level = this.profile.roots;
    let shown = level.length;
    while (level.length) {
      const next = level.flatMap((node) => (this.profile.standsForSeveral(node) ? [] : this.profile.children[node]));
      if (shown >= MIN_FIRST_ROWS && shown + next.length > MAX_FIRST_ROWS) break;
      for (const node of level) if (this.profile.children[node].length && !this.profile.standsForSeveral(node)) this.open.add(node);
      shown += next.length;
      level = next;
    }
  }

  /** Measures the lines, and gives names as much room as they need. */
  measureLines() {
    this.layout.measure(this.lines, this.headings);
    const panel = this.scroller.parentElement;
    panel.parentElement.style.setProperty("--tree", `${this.layout.natural + panel.offsetWidth - this.room}px`);
    this.fit(true);
  }

  get room() {
    return this.scroller.clientWidth - parseFloat(getComputedStyle(this.table.tHead.rows[0]).paddingRight);
  }

  /** Hides the least important columns until names have room, and draws the rows. */
  fit(afresh = false) {
    if (!this.totals) return;
    const plan = this.layout.plan(this.room);
    const before = this.cells.plan;
    const changed = ["template", "stacked", "tight"].some((part) => plan[part] !== before[part]);
    if (changed || afresh) {
      this.cells.plan = plan;
      this.table.style.setProperty("--columns", plan.template);
      this.table.style.setProperty("--row", `${this.rowHeight}px`);
      this.table.classList.toggle("stacked", plan.stacked);
      this.table.classList.toggle("tight", Boolean(plan.tight));
      this.table.classList.toggle("barless", !plan.bars);
      for (const [name, heading] of this.headings) heading.hidden = plan.hidden.has(name);
      this.foot.replaceChildren(this.cells.totalRow(this.lines.length));
    }
    this.render(changed || afresh);
  }

  get rowHeight() {
    return ROW_HEIGHTS[this.cells.plan.stacked ? "stacked" : "line"];
  }

  /** Redraws under a theme. */
  paint(theme) {
    this.cells.theme = theme;
    this.render(true);
  }

  expandAll() {
    for (let node = 0; node < this.profile.size; node += 1) {
      if (this.profile.children[node].length) this.opened.add(node);
    }
    this.arrange();
  }

  collapseAll() {
    this.opened.clear();
    this.active = null;
    this.layout.reset();
    this.arrange();
    this.scroller.scrollTop = 0;
  }

  /** Shows only the matches of a search and the nodes above them; null shows all again. */
  find(search) {
    this.search = search;
    this.layout.reset();
    if (search) {
      this.openInSearch = new Set();
      for (const node of this.profile.order) if (search.leadsToMatch[node]) this.openInSearch.add(node);
      this.active = null;
      this.scroller.scrollTop = 0;
    } else if (this.selected !== undefined) {
      this.openTo(this.selected);
    }
    this.arrange();
    if (!search && this.selected !== undefined) this.scrollTo(this.selected);
  }

  /** Moves to the first match, or to the first node. */
  toFirstMatch() {
    const line = this.lines.find(({ node }) => this.search?.found[node]) ?? this.lines[0];
    if (!line) return;
    this.activate(line.node);
    this.focus();
  }

  /** Puts all rows into the document for printing, or again only those in view. */
  showAll(all) {
    this.complete = all;
    this.render(true);
  }

  /** Selects a node; scrolls to it if `reveal`. */
  select(node, reveal = false) {
    this.selected = node;
    this.active = node;
    if (reveal) {
      this.openTo(node);
      this.arrange();
      this.scrollTo(node);
    } else {
      this.render();
    }
  }

  get opened() {
    return this.search ? this.openInSearch : this.open;
  }

  openTo(node) {
    for (const above of this.profile.ancestry(node).slice(0, -1)) this.opened.add(above);
  }

  sortBy(name) {
    const first = name !== "name";
    const { by, descending } = this.sort;
    if (by !== name) this.sort = { by: name, descending: first };
    else if (descending === first) this.sort = { by: name, descending: !first };
    else this.sort = { by: null, descending: true };
    for (const [column, heading] of this.headings) {
      const sorted = this.sort.by === column;
      heading.setAttribute("aria-sort", !sorted ? "none" : this.sort.descending ? "descending" : "ascending");
    }
    this.arrange();
  }

  /** Sorts siblings. Names are compared with numbers in numerical order (block 9 before 10). */
  sorted(nodes) {
    const { by, descending } = this.sort;
    if (!by) return nodes;
    const sign = descending ? -1 : 1;
    const { name } = this.profile;
    const words = new Intl.Collator(undefined, { numeric: true });
    if (by === "name") return [...nodes].sort((one, other) => sign * words.compare(name[one], name[other]));
    const measure = by === "share" ? this.measure : by;
    // What has no number, such as an operator's parameters, comes last in descending order.
    const value = FACTS[by] ? (node) => Number(this.facts.value(by, node) ?? -Infinity) : (node) => this.totals.value(measure, node);
    return [...nodes].sort((one, other) => sign * (value(one) - value(other)) || one - other);
  }

  /** Lists the nodes shown by open modules, in order, with the positions that a screen reader needs. */
  arrange() {
    const { profile, search, opened } = this;
    this.lines = [];
    const descend = (nodes, level, belowMatch) => {
      const shown = this.sorted(
        nodes.filter(
          (node) =>
            this.totals.present[node] &&
            (!search || belowMatch || search.found[node] || search.leadsToMatch[node]),
        ),
      );
      shown.forEach((node, index) => {
        this.lines.push({ node, level, position: index + 1, of: shown.length });
        if (opened.has(node)) descend(profile.children[node], level + 1, belowMatch || (search && search.found[node]));
      });
    };
    // A node above matches shows only these; below a match everything can be opened.
    descend(this.tops, 1, false);
    this.indices = new Map(this.lines.map((line, index) => [line.node, index]));
    if (!this.indices.has(this.active)) this.active = this.lines.length ? this.lines[0].node : null;
    this.table.setAttribute("aria-rowcount", this.lines.length + 2);
    this.measureLines();
  }

  /** Puts the rows in view into the document. */
  render(afresh = false) {
    if (!this.totals) return;
    const height = this.scroller.clientHeight || 600;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / this.rowHeight) - SPARE_ROWS);
    const last = this.complete
      ? this.lines.length
      : Math.min(this.lines.length, first + Math.ceil(height / this.rowHeight) + 2 * SPARE_ROWS);
    const focused = this.body.contains(document.activeElement);
    if (afresh || this.drawn?.first !== first || this.drawn.last !== last) {
      this.drawn = { first, last };
      const rows = this.lines.slice(first, last).map((line, offset) => this.row(line, first + offset));
      this.body.replaceChildren(this.gap(first), ...rows, this.gap(this.lines.length - last));
    }
    this.mark();
    if (focused) this.body.querySelector('tr[tabindex="0"]')?.focus({ preventScroll: true });
  }

  row(line, index) {
    const words = this.search?.found[line.node] ? this.search.words : "";
    return this.cells.row(line, index, this.opened.has(line.node), words);
  }

  /** Marks the selected row, and the one that the tab key reaches. */
  mark() {
    const { first, last } = this.drawn;
    const index = this.indices.get(this.active) ?? -1;
    const reachable = index >= first && index < last ? this.active : this.lines[first]?.node;
    for (const row of this.body.querySelectorAll("tr[data-node]")) {
      const node = Number(row.dataset.node);
      row.tabIndex = node === reachable ? 0 : -1;
      row.setAttribute("aria-selected", node === this.selected);
    }
  }

  gap(rows) {
    const gap = made("tr", { role: "presentation", "aria-hidden": "true", class: "gap" });
    gap.hidden = rows === 0;
    gap.style.height = `${rows * this.rowHeight}px`;
    return gap;
  }

  nodeAt(event) {
    const row = event.target.closest("tr[data-node]");
    return row ? Number(row.dataset.node) : null;
  }

  click(event) {
    const node = this.nodeAt(event);
    if (node === null) return;
    if (event.target.closest(".toggle:not(.none)")) {
      this.active = node;
      this.toggle(node);
    } else {
      this.on.select(node);
    }
    this.focus();
  }

  toggle(node, wanted = !this.opened.has(node)) {
    if (!this.profile.children[node].length) return;
    if (wanted) this.opened.add(node);
    else this.opened.delete(node);
    this.arrange();
  }

  activate(node) {
    this.active = node;
    this.scrollTo(node);
    this.render();
  }

  focus() {
    this.body.querySelector(`tr[data-node="${this.active}"]`)?.focus({ preventScroll: true });
  }

  scrollTo(node) {
    const index = this.indices.get(node);
    if (index === undefined) return;
    const head = this.table.tHead.offsetHeight;
    const foot = this.table.tFoot.offsetHeight;
    const above = index * this.rowHeight;
    const below = above + this.rowHeight - (this.scroller.clientHeight - head - foot);
    if (this.scroller.scrollTop > above) this.scroller.scrollTop = above;
    else if (this.scroller.scrollTop < below) this.scroller.scrollTop = below;
    this.render();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.active === null) return;
    const node = this.active;
    const index = this.indices.get(node);
    const hasChildren = this.profile.children[node].length > 0;
    const to = (line) => this.activate(this.lines[Math.max(0, Math.min(this.lines.length - 1, line))].node);
    const keys = {
      ArrowDown: () => to(index + 1),
      ArrowUp: () => to(index - 1),
      Home: () => to(0),
      End: () => to(this.lines.length - 1),
      PageDown: () => to(index + PAGE_STEP),
      PageUp: () => to(index - PAGE_STEP),
      ArrowRight: () => {
        if (hasChildren && !this.opened.has(node)) this.toggle(node, true);
        else if (hasChildren) to(index + 1);
      },
      ArrowLeft: () => {
        const above = this.profile.parent[node];
        if (hasChildren && this.opened.has(node)) this.toggle(node, false);
        else if (above >= 0) this.activate(above);
      },
      Enter: () => this.on.zoom(node),
      " ": () => this.on.select(node),
      "*": () => {
        const siblings = this.profile.below(this.profile.parent[node] ?? EVERYTHING);
        for (const each of siblings) if (this.profile.children[each].length) this.opened.add(each);
        this.arrange();
      },
    };
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
    this.focus();
  }
}
