// Writes numbers for people, as the text reports do: scaled with an SI prefix in cells, in full in tooltips. Does not
// depend on profiles.

const PREFIXES = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
const TIMES = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"], [1e-12, "ps"]];

/** Writes four significant digits and an SI prefix; a whole number below a thousand stays exact. Accepts a BigInt. */
function scaled(value, unit = "") {
  const number = Number(value);
  let power = 0;
  while (100 * Math.abs(number) >= 99995 * 1000 ** power && power < PREFIXES.length - 1) power += 1;
  // A whole number below 1000 is exact even if it would round up.
  const small = Number.isInteger(number) && Math.abs(number) < 1000;
  const size = 1000 ** power;
  const text = small ? number : Math.abs(number) >= 1000 * size ? whole(value, power) : significant(number / size);
  return `${text} ${PREFIXES[small ? 0 : power]}${unit}`.trim();
}

/** Writes a number beyond the largest prefix as a multiple of a power of 1000, exactly for a BigInt. */
function whole(value, power) {
  const size = 1000n ** BigInt(power);
  return grouped((2n * BigInt(value) + (value < 0 ? -size : size)) / (2n * size));
}

/** Writes a time with four significant digits. */
function duration(seconds) {
  if (!seconds) return "0 s";
  // A time just below a unit rounds up to it.
  const [factor, unit] = TIMES.find(([each]) => Math.abs(seconds) >= each * 0.99995) ?? TIMES.at(-1);
  return `${significant(seconds / factor)} ${unit}`;
}

/** Writes four significant digits, or all digits before the point. */
function significant(value) {
  const digits = String(Math.trunc(Math.abs(value))).length;
  return digits < 4 ? fixed(value, 4 - digits) : grouped(fixed(value, 0));
}

/** Writes a number with a number of decimals, rounding half to even as Python does. */
function fixed(value, decimals) {
  const text = value.toFixed(decimals);
  const rest = value.toFixed(60).split(".")[1].slice(decimals);
  const last = Number(text.at(-1));
  return /^50*$/.test(rest) && last % 2 ? text.slice(0, -1) + (last - 1) : text;
}

/** Writes a whole number (also a BigInt) with thousands separators. */
function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** Writes a quotient with three significant digits, or all digits before the point. */
function quotient(value) {
  return value >= 100 ? grouped(fixed(value, 0)) : String(Number(value.toPrecision(3)));
}

/** Writes a part of a whole in percent; "" if the whole is 0. */
function percent(part, whole) {
  if (!whole) return "";
  const share = (100 * part) / whole;
  if (share !== 0 && Math.abs(share) < 0.05) return share > 0 ? "<0.1 %" : ">-0.1 %";
  return `${fixed(share, 1)} %`;
}

/** Writes a sum of terms whose coefficients are BigInts over a denominator, as sympy does. */
function expression(coefficients, terms, denominator) {
  const whole = coefficients.every((coefficient, index) => coefficient === 0n || terms[index][0] === "1");
  if (whole && denominator === 1n) return grouped(coefficients.reduce((sum, coefficient) => sum + coefficient, 0n));
  let text = "";
  coefficients.forEach((coefficient, index) => {
    if (coefficient === 0n) return;
    const size = coefficient < 0n ? -coefficient : coefficient;
    const divisor = common(size, denominator);
    const numerator = size / divisor;
    const rest = denominator / divisor;
    const over = rest === 1n ? "" : `/${rest}`;
    const [term] = terms[index];
    const alone = term === "1";
    const factor = alone ? numerator : numerator === 1n ? "" : `${numerator}*`;
    const sign = coefficient < 0n ? (text ? " - " : "-") : text ? " + " : "";
    text += `${sign}${factor}${alone ? "" : term}${over}`;
  });
  return text || "0";
}

/** Lets a formula be wrapped in front of its signs only. */
function wrappable(formula) {
  return formula.replace(/ ([+-]) /g, " $1\u00a0");
}

function common(one, other) {
  while (other) [one, other] = [other, one % other];
  return one;
}
