// Numbers as people read them, as the text reports write them: scaled with an SI prefix in cells, in full in tooltips.
// Knows nothing of profiles.

const PREFIXES = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
const TIMES = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"], [1e-12, "ps"]];

/** Writes four significant digits and an SI prefix; a whole number below a thousand stays as it is. A BigInt too. */
function scaled(value, unit = "") {
  const number = Number(value);
  let power = 0;
  while (100 * Math.abs(number) >= 99995 * 1000 ** power && power < PREFIXES.length - 1) power += 1;
  // A whole number that only rounds up to a thousand is written as it is, too.
  const small = Number.isInteger(number) && Math.abs(number) < 1000;
  const size = 1000 ** power;
  const text = small ? number : Math.abs(number) >= 1000 * size ? whole(value, power) : significant(number / size);
  return `${text} ${PREFIXES[small ? 0 : power]}${unit}`.trim();
}

/** Writes how many times a power of a thousand is in a number that has no prefix of its own, exactly of a BigInt. */
function whole(value, power) {
  const size = 1000n ** BigInt(power);
  return grouped((2n * BigInt(value) + (value < 0 ? -size : size)) / (2n * size));
}

/** Writes a time with four significant digits. */
function duration(seconds) {
  if (!seconds) return "0 s";
  // Half a unit of the last digit below a unit, a time rounds up to it.
  const [factor, unit] = TIMES.find(([each]) => Math.abs(seconds) >= each * 0.99995) ?? TIMES.at(-1);
  return `${significant(seconds / factor)} ${unit}`;
}

/** Writes four significant digits, or all that stand before the point. */
function significant(value) {
  const digits = String(Math.trunc(Math.abs(value))).length;
  return digits < 4 ? fixed(value, 4 - digits) : grouped(fixed(value, 0));
}

/** Writes a number with so many decimals; where two are equally near, the even one, as Python does. */
function fixed(value, decimals) {
  const text = value.toFixed(decimals);
  const rest = value.toFixed(60).split(".")[1].slice(decimals);
  const last = Number(text.at(-1));
  return /^50*$/.test(rest) && last % 2 ? text.slice(0, -1) + (last - 1) : text;
}

/** Writes a whole number, a BigInt too, with thousands separators. */
function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** Writes a quotient with three significant digits, or all that stand before the point. */
function quotient(value) {
  return value >= 100 ? grouped(fixed(value, 0)) : String(Number(value.toPrecision(3)));
}

/** Writes a part of a whole in percent, or nothing where there is no whole. */
function percent(part, whole) {
  if (!whole) return "";
  const share = (100 * part) / whole;
  if (share !== 0 && Math.abs(share) < 0.05) return share > 0 ? "<0.1 %" : ">-0.1 %";
  return `${fixed(share, 1)} %`;
}

/** Writes a sum of terms whose coefficients are BigInts over a denominator, as sympy does. */
function expression(coefficients, terms, denominator) {
  const whole = coefficients.every((coefficient, place) => coefficient === 0n || terms[place][0] === "1");
  if (whole && denominator === 1n) return grouped(coefficients.reduce((sum, coefficient) => sum + coefficient, 0n));
  let text = "";
  coefficients.forEach((coefficient, place) => {
    if (coefficient === 0n) return;
    const size = coefficient < 0n ? -coefficient : coefficient;
    const divisor = common(size, denominator);
    const above = size / divisor;
    const below = denominator / divisor;
    const over = below === 1n ? "" : `/${below}`;
    const [term] = terms[place];
    const alone = term === "1";
    const factor = alone ? above : above === 1n ? "" : `${above}*`;
    const sign = coefficient < 0n ? (text ? " - " : "-") : text ? " + " : "";
    text += `${sign}${factor}${alone ? "" : term}${over}`;
  });
  return text || "0";
}

function common(one, other) {
  while (other) [one, other] = [other, one % other];
  return one;
}
