// The page: the state (measure, filters, search, selection, zoom, theme), and which views are redrawn when it changes.
// `choice` is the only state that views share; each view is drawn from it.

performance.mark("opflops-start");
const data = JSON.parse(document.getElementById("data").textContent);
const profile = new Profile(data);
const at = (id) => document.getElementById(id);
const system = matchMedia("(prefers-color-scheme: dark)");

const choice = {
  measure: data.measure,
  hidden: { phase: new Set(), dtype: new Set(), rank: new Set() },
  root: profile.top,
  selected: undefined,
  search: null,
};
let totals = profile.totals(() => true, choice.root);
const colors = new Colors(profile, totals, choice.measure);
const facts = new Facts(data, profile);
const tree = new ModuleTree(at("tree"), profile, facts, colors, { select, zoom });
const hierarchy = new Hierarchy(at("hierarchy"), profile, facts, colors, { pick });
const operators = new Operators(at("operators"), at("phases"), { find: searchFor });
const roofline = new RooflineChart(at("roofline"), at("dtypes"), at("least"), at("roofline-note"), profile, data.device);
let theme = null;
const withRoofline = profile.timed || data.device !== null;
const withMemory = data.memory.length > 0;
const memory = new MemoryPanel(at, facts, data.fit, { select: reveal, changed: remember });
const timeline = new Timeline(at("timeline"), at("moment"), facts, { select: reveal });
const drawings = [
  ["hierarchy", profile.size, () => hierarchy.draw({ totals, theme, ...choice })],
  ["timeline", withMemory, () => timeline.draw({ theme })],
  ["roofline", profile.size && withRoofline, () => roofline.draw({ totals, theme })],
];
const charts = new Charts(drawings.filter(([, wanted]) => wanted).map(([id, , draw]) => [at(id), draw]));

// State ---------------------------------------------------------------------------------------------------------------

function select(node) {
  choice.selected = node;
  tree.select(node);
  showDetails();
  drawHierarchy();
}

/** Selects a node that another view names, and scrolls the tree to it. */
function reveal(node) {
  if (at("search").value) searchFor("");
  if (!profile.isWithin(node, choice.root)) zoomTo(profile.top);
  choice.selected = node;
  tree.select(node, true);
  showDetails();
  drawHierarchy();
}

/** Shows one part of the model: all views have its numbers alone. */
function zoomTo(root) {
  if (root === choice.root) return;
  choice.root = root;
  tree.zoom(root);
  recount();
  if (choice.search) searchFor(at("search").value);
}

/** Shows the memory of the device that was chosen. */
function remember() {
  timeline.reset();
  if (profile.size) tree.arrange();
  showDetails();
  charts.draw();
}

/** Zooms to a module, or to that of an operator. */
function zoom(node) {
  choice.selected = node;
  zoomTo(moduleOf(node));
  tree.select(node);
  showDetails();
  drawHierarchy();
}

function moduleOf(node) {
  return profile.moduleOf(node);
}

/** Handles a click into the chart: zooms in or, on the current root, out. */
function pick(node) {
  if (node === choice.root) zoomOut();
  else zoomTo(moduleOf(node));
  if (node === EVERYTHING) return;
  reveal(node);
}

function zoomOut() {
  zoomTo(choice.root === profile.top ? profile.top : profile.above(choice.root));
}

function searchFor(words) {
  at("search").value = words;
  choice.search = words.trim() ? new Search(profile, words, choice.root) : null;
  const { search } = choice;
  tree.find(search);
  const where = search && choice.root !== profile.top ? ` in ${profile.name[choice.root]}` : "";
  operators.draw({ totals, ...choice });
  at("matches").textContent = search ? `${grouped(search.count)} ${search.count === 1 ? "match" : "matches"}${where}` : "";
  charts.draw();
}

function recount() {
  const { phase, dtype, rank } = choice.hidden;
  totals = profile.totals((one, other, third) => !phase.has(one) && !dtype.has(other) && !rank.has(third), choice.root);
  redraw();
}

// Views ---------------------------------------------------------------------------------------------------------------

function redraw() {
  showMeasures();
  tree.show(totals, choice.measure);
  operators.draw({ totals, ...choice });
  if (withRoofline) roofline.showTimes(totals);
  showPath();
  if (profile.symbolic) showDetails();
  charts.draw();
}

/** Shows what is known of the selected module, or of that of an operator; of formulas, those of the selected line in full. */
function showDetails() {
  const selected = choice.selected ?? profile.roots.find((each) => profile.type[each]) ?? EVERYTHING;
  const formulas = profile.symbolic && selected !== EVERYTHING ? formulasOf(selected) : [];
  const node = formulas.length ? selected : moduleOf(selected);
  const found = node === EVERYTHING ? [] : [...formulas, ...facts.details(node)];
  at("details").hidden = !found.length;
  if (!found.length) return;
  const list = made("dl");
  for (const [heading, lines] of found) {
    const entry = made("div", formulas.some(([name]) => name === heading) ? { class: "formula" } : {});
    entry.append(made("dt", {}, heading), ...lines.map((line) => made("dd", {}, line)));
    list.append(entry);
  }
  const title = made("p", { class: "what" });
  const name = made("strong");
  name.append(...breakable(profile.path[node]));
  title.append(name, profile.typeBeside(node) ? ` ${profile.typeBeside(node)}` : "");
  at("details").replaceChildren(title, list);
}

/** Lists the formulas of a node, as pairs of a measure and lines of text. */
function formulasOf(node) {
  const names = profile.measures.filter((name) => totals.hasTerms(name) && totals.value(name, node));
  return names.map((name) => [MEASURES[name].label, [wrappable(totals.full(name, node))]]);
}

function drawHierarchy() {
  showPath();
  charts.drawFirst();
}

function showPath() {
  const steps = choice.root === EVERYTHING ? [] : profile.ancestry(choice.root);
  if (profile.top === EVERYTHING) steps.unshift(EVERYTHING);
  at("path").replaceChildren(
    ...steps.map((node, index) => {
      const last = index === steps.length - 1;
      const step = made("button", { type: "button" }, node === EVERYTHING ? "Total" : profile.name[node]);
      if (last) step.setAttribute("aria-current", "true");
      step.addEventListener("click", () => {
        zoomTo(node);
        at("path").lastElementChild.firstElementChild.focus();
      });
      const item = made("li");
      item.append(step);
      return item;
    }),
  );
  at("zoomed").hidden = choice.root === profile.top;
  at("zoomed-name").replaceChildren(...breakable(choice.root === EVERYTHING ? "" : profile.path[choice.root]));
}

function buildMeasures() {
  for (const name of profile.measures) {
    const label = made("label", { class: "measure" });
    const radio = made("input", { type: "radio", name: "measure", value: name, class: "visually-hidden" });
    radio.checked = name === choice.measure;
    radio.addEventListener("change", () => {
      choice.measure = name;
      redraw();
    });
    label.append(radio, made("span", { class: "what" }, MEASURES[name].heading), made("strong"), made("small"));
    at("measures").append(label);
  }
  at("sizes").hidden = !profile.symbolic;
  at("sizes").textContent = `Numbers, charts and percentages are at ${profile.examples}; formulas hold for all sizes.`;
  onWidth(at("measures"), arrangeMeasures);
}

/** Puts the cards into rows of about the same number, each as wide as the widest needs. */
function arrangeMeasures() {
  const cards = [...at("measures").querySelectorAll(".measure")];
  at("measures").classList.add("measuring");
  const least = Math.max(...cards.map((card) => card.offsetWidth));
  at("measures").classList.remove("measuring");
  const gap = parseFloat(getComputedStyle(at("measures")).columnGap);
  const most = Math.max(1, Math.floor((at("measures").clientWidth + gap) / (least + gap)));
  const rows = Math.ceil(cards.length / most);
  at("measures").style.setProperty("--cards", Math.ceil(cards.length / rows));
}

function showMeasures() {
  for (const label of at("measures").querySelectorAll(".measure")) {
    const name = label.firstElementChild.value;
    const full = totals.full(name, EVERYTHING);
    const short = profile.symbolic ? amount(name, totals.value(name, EVERYTHING)) : totals.short(name, EVERYTHING);
    label.querySelector("strong").textContent = name === "calls" ? full : short;
    const beside = name === "calls" ? operatorsSaid() : full === short ? "" : wrappable(full);
    label.querySelector("small").textContent = beside;
    label.title = totals.describe(name, EVERYTHING);
  }
  arrangeMeasures();
}

function operatorsSaid() {
  const { length } = totals.byOperator("calls");
  return `of ${grouped(length)} ${length === 1 ? "operator" : "operators"}`;
}

function buildFilters() {
  for (const [key, heading] of [["phase", "Phase"], ["dtype", "Data type"], ["rank", "Rank"]]) {
    const values = profile.present(key);
    if (values.length < 2 || (key === "rank" && values.length > MAX_RANK_CHIPS)) continue;
    const group = made("div", { class: "chips", role: "group", "aria-label": heading });
    group.append(made("span", { class: "what", "aria-hidden": "true" }, heading));
    for (const value of values) {
      const chip = made("button", { type: "button", class: "chip", "aria-pressed": "true", "data-value": value }, value);
      if (key === "phase") paintChip(chip, PHASES[value] ?? OTHER_PHASE);
      chip.addEventListener("click", () => {
        const hidden = choice.hidden[key];
        if (!hidden.delete(value)) hidden.add(value);
        chip.setAttribute("aria-pressed", !hidden.has(value));
        recount();
      });
      group.append(chip);
    }
    at("filters").append(group);
  }
}

function buildNotes() {
  at("notes").append(...data.notes.map((note) => made("li", note.startsWith("Not counted") ? { class: "warn" } : {}, note)));
  if (!data.unpriced.length) return;
  const several = data.unpriced.length > 1;
  const listed = data.unpriced.map(([name, calls]) => `${name} (${calls})`).join(", ");
  at("unpriced").textContent = `${several ? `${data.unpriced.length} operators have` : "One operator has"} no formula, so totals do not `
    + `include ${several ? "their" : "its"} arithmetic: ${listed}.`;
  at("unpriced").hidden = false;
}

// Theme ---------------------------------------------------------------------------------------------------------------

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : system.matches;
}

function applyTheme() {
  at("theme").textContent = isDark() ? "☀ Light" : "☾ Dark";
  at("theme").setAttribute("aria-label", isDark() ? "Use the light theme" : "Use the dark theme");
  theme = themeColors();
  tree.paint(theme);
  charts.draw();
}

/** Lays the page out for paper, in light colors and with all rows of the tree; or again for the screen. */
function layOutForPaper(paper) {
  document.documentElement.classList.toggle("printing", paper);
  theme = themeColors();
  tree.paint(theme);
  tree.showAll(paper);
  charts.drawNow();
  refit();
}

// Start ---------------------------------------------------------------------------------------------------------------

function listen() {
  at("search").addEventListener("input", () => searchFor(at("search").value));
  at("search").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "Enter") return;
    event.preventDefault();
    tree.toFirstMatch();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target === at("search");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      at("search").select();
    } else if (event.key === "Escape") {
      if (at("search").value) searchFor("");
      else if (typing) tree.focus();
      else zoomOut();
    }
  });
  at("show-all").addEventListener("click", () => zoomTo(profile.top));
  at("expand").addEventListener("click", () => tree.expandAll());
  at("collapse").addEventListener("click", () => tree.collapseAll());
  for (const button of document.querySelectorAll("[data-kind]")) {
    button.addEventListener("click", () => {
      hierarchy.kind = button.dataset.kind;
      for (const each of document.querySelectorAll("[data-kind]")) each.setAttribute("aria-pressed", each === button);
      drawHierarchy();
    });
  }
}

buildNotes();
at("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  applyTheme();
});
system.addEventListener("change", applyTheme);
applyTheme();
addEventListener("beforeprint", () => layOutForPaper(true));
addEventListener("afterprint", () => layOutForPaper(false));
if (withMemory) memory.build();
if (data.ranks) buildRanks(at, data.ranks);
if (data.bottlenecks) new Bottlenecks(at, data.bottlenecks, profile, { select: reveal, find: searchFor }).build();
if (profile.size) {
  if (data.device) at("roofline-title").textContent = `Roofline of ${data.device.name}`;
  at("roofline-panel").hidden = !withRoofline;
  buildMeasures();
  buildFilters();
  showLegend(at("types"), [...colors.types]);
  listen();
  showDetails();
  redraw();
} else {
  at("empty").hidden = false;
  for (const part of at("content").children) if (part !== at("memory-panel")) part.hidden = true;
}
performance.mark("opflops-tree");
document.documentElement.dataset.ready = "tree";
if (profile.size || withMemory) {
  // plotly's script stands below this one, as text.
  addEventListener("DOMContentLoaded", async () => {
    await charts.start();
    performance.mark("opflops-charts");
    document.documentElement.dataset.ready = "charts";
  });
} else {
  at("content").hidden = true;
  document.documentElement.dataset.ready = "charts";
}
