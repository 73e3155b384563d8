// Small tables with names: names come first, whole or wrapped, and columns of numbers give way.

/** Makes a name that can be wrapped where its parts end. */
function breakable(text) {
  return text.split(/(?<=[._/])/).flatMap((part, index) => (index ? [made("wbr"), part] : [part]));
}

/**
 * Takes steps, the least harmful first, until a table is no wider than what it is in; then wraps its names
 * between their parts, and at last anywhere.
 *
 * @param steps columns to hide, or with a dot in front classes to set
 * @param earlier steps that may have been taken before
 * @returns how many steps were taken
 */
function fitTable(table, steps, earlier = steps) {
  const take = (step, taken) => {
    if (step.startsWith(".")) table.classList.toggle(step.slice(1), taken);
    else for (const cell of table.querySelectorAll(`[data-column="${step}"]`)) cell.hidden = taken;
  };
  const all = [...steps, ".wrapping", ".breaking"];
  for (const step of [...earlier, ...all]) take(step, false);
  const overflows = () => table.offsetWidth > table.parentElement.clientWidth;
  const needed = all.findIndex((step) => {
    if (!overflows()) return true;
    take(step, true);
    return false;
  });
  return needed < 0 ? all.length : needed;
}

const fittings = []; // all that depends on widths

/** Calls a function whenever an element has another width, in a frame of its own; also at first. */
function onWidth(element, changed) {
  fittings.push(changed);
  let width = -1;
  new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    width = element.clientWidth;
    requestAnimationFrame(changed);
  }).observe(element);
}

/** Does at once whatever depends on widths. */
function refit() {
  for (const each of fittings) each();
}

/** Makes a cell of a table. */
function cellOf(tag, column, ...content) {
  const cell = made(tag, { ...(tag === "th" ? { scope: "col" } : {}), class: column === "name" || column === "share" ? column : "number", "data-column": column });
  cell.append(...content);
  return cell;
}
