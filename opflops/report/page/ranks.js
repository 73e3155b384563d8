// The work of each rank of a process group, as Python adds it up; the filter by rank is above the charts.

const MAX_RANK_CHIPS = 16;

/** Fills the panel of ranks. */
function buildRanks(at, { headings, lines, left, note }) {
  const head = made("tr");
  head.append(cellOf("th", "name", "Rank"), cellOf("th", "share", "Share"), ...headings.map((heading) => cellOf("th", heading, heading)));
  const table = at("ranks");
  table.createTHead().append(head);
  table.createTBody().append(
    ...lines.map(({ name, share, numbers }) => {
      const row = made("tr");
      row.append(made("th", { scope: "row", class: "name" }, name));
      row.append(cellOf("td", "share", portion(share ?? 0, share === null ? "" : percent(share, 1))));
      row.append(...headings.map((heading, index) => {
        const [full, short] = numbers[index];
        const cell = cellOf("td", heading, made("span", { class: "full" }, full), made("span", { class: "short", "data-text": short }));
        cell.title = full;
        return cell;
      }));
      return row;
    }),
  );
  const more = left ? ` ${grouped(left)} more lines are not listed.` : "";
  at("ranks-note").textContent = `${note}${more} Of all phases and data types: filters do not change it.`;
  at("ranks-panel").hidden = false;
  onWidth(table.parentElement, () => fitTable(table, [".compact", ".barless", "calls"]));
}
