// The work of each rank of a process group, as Python adds it up; the filter by rank is above the charts.

const MAX_RANK_CHIPS = 16;

/** Fills the panel of ranks. */
function buildRanks(at, { headings, lines, left, note }) {
  const head = made("tr");
  head.append(made("th", { scope: "col", class: "name" }, "Rank"), made("th", { scope: "col", class: "share" }, "Share"));
  head.append(...headings.map((heading) => made("th", { scope: "col", class: "number" }, heading)));
  const table = at("ranks");
  table.createTHead().append(head);
  table.createTBody().append(
    ...lines.map(({ name, share, numbers }) => {
      const row = made("tr");
      const bar = made("td", { class: "share" });
      bar.style.setProperty("--share-part", Math.max(0, Math.min(1, share ?? 0)));
      bar.append(made("span", share ? {} : { class: "nothing" }, share === null ? "" : percent(share, 1)));
      row.append(made("th", { scope: "row", class: "name" }, name), bar);
      row.append(...numbers.map((number) => made("td", { class: "number" }, number)));
      return row;
    }),
  );
  const more = left ? ` ${grouped(left)} more lines are not listed.` : "";
  at("ranks-note").textContent = `${note}${more} Of all phases and data types: filters do not change it.`;
  at("ranks-panel").hidden = false;
}
