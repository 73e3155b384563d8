// Numbers as people read them: scaled with an SI prefix in cells, in full in tooltips. Knows nothing of profiles.

const PREFIXES = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL_PREFIXES = ["", "m", "µ", "n", "p"];

/** Writes four significant digits and an SI prefix; a whole number below a thousand stays as it is. */
function scaled(value, unit = "") {
  if (value === 0) return unit ? `0 ${unit}` : "0";
  let mantissa = value;
  let power = 0;
  while (Math.abs(mantissa) >= 999.95 && power < PREFIXES.length - 1) {
    mantissa /= 1000;
    power += 1;
  }
  if (power === 0 && Number.isInteger(value)) return unit ? `${value} ${unit}` : String(value);
  let small = 0;
  while (power === 0 && Math.abs(mantissa) < 1 && small < SMALL_PREFIXES.length - 1) {
    mantissa *= 1000;
    small += 1;
  }
  const whole = String(Math.trunc(Math.abs(mantissa))).length;
  const prefix = small ? SMALL_PREFIXES[small] : PREFIXES[power];
  return `${mantissa.toFixed(Math.max(0, 4 - whole))} ${prefix}${unit}`.trim();
}

/** Writes a whole number, a BigInt too, with thousands separators. */
function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** Writes a part of a whole in percent, or nothing where there is no whole. */
function percent(part, whole) {
  if (!whole) return "";
  const share = (100 * part) / whole;
  return share !== 0 && Math.abs(share) < 0.05 ? "<0.1 %" : `${share.toFixed(1)} %`;
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
