// The rows, column by column, and how a value is read, compared and written.

const data = JSON.parse(document.getElementById("data").textContent);
const columns = new Map(data.columns.map((column) => [column.name, unpacked(column)]));
const everyRow = Array.from({ length: data.rows }, (_, row) => row);
const Z90 = 1.645; // half of a 90 % interval, in standard errors

/** A column's cells; long ones that repeat come as places among the distinct ones. */
function unpacked(column) {
  return column.codes ? column.codes.map((place) => column.distinct[place]) : column.values;
}

/** A row's value in a column; null where it has none, or where no row has such a column. */
function cell(name, row) {
  return columns.get(name)?.[row] ?? null;
}

/** The number that a value is: 0.5 also for the text "1/2", null for what is none. */
function numberOf(value) {
  if (typeof value === "number") return value;
  if (typeof value !== "string") return null;
  const parts = value.trim().split("/");
  const numbers = parts.map((part) =>
    /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(part.trim()) ? Number(part) : NaN,
  );
  const number =
    numbers.length === 2 ? numbers[0] / numbers[1] : numbers.length === 1 ? numbers[0] : NaN;
  return Number.isFinite(number) ? number : null;
}

/** What tells values from another: 1 and "1" are two, lists are compared by their entries. */
function identity(value) {
  return value === null
    ? ""
    : `${typeof value}:${typeof value === "object" ? JSON.stringify(value) : value}`;
}

const numericColumns = new Map();

/** Whether all of a column's values are numbers, and there is one. */
function isNumeric(name) {
  if (!numericColumns.has(name)) {
    const values = (columns.get(name) ?? []).filter((value) => value !== null);
    numericColumns.set(
      name,
      values.length > 0 && values.every((value) => numberOf(value) !== null),
    );
  }
  return numericColumns.get(name);
}

/** A column's distinct values in these rows: numbers by size, texts as they appear, none last. */
function distinct(name, rows) {
  const found = new Map();
  for (const row of rows) found.set(identity(cell(name, row)), cell(name, row));
  const values = [...found.values()];
  if (isNumeric(name)) return values.sort(compare);
  return values.filter((value) => value !== null).concat(values.filter((value) => value === null));
}

const collator = new Intl.Collator("en", { numeric: true });

/** The order of two values: numbers, then other things by their text, then none. */
function compare(one, other) {
  if (one === null || other === null) return (one === null) - (other === null);
  const [first, second] = [numberOf(one), numberOf(other)];
  if (first !== null && second !== null) return first - second;
  if (first !== null || second !== null) return first !== null ? -1 : 1;
  return collator.compare(display(one), display(other));
}

/** A number to `digits` significant digits, without zeros at its end. */
function short(number, digits = 6) {
  if (Number.isInteger(number) && Math.abs(number) < 1e9) return String(number);
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    const [mantissa, power] = number.toExponential(digits - 1).split("e");
    return `${Number(mantissa)}e${Number(power)}`;
  }
  return String(Number(number.toPrecision(digits)));
}

/** A value as text to read. */
function display(value) {
  if (value === null) return "";
  if (typeof value === "number") return short(value);
  if (Array.isArray(value)) return `[${value.map(display).join(", ")}]`;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** A value's name where there must be one. */
function named(value) {
  return value === null ? "none" : display(value) === "" ? "(empty)" : display(value);
}

/** A value's name in a column: rows of no group are those of all groups together. */
function nameIn(name, value) {
  return name === "group" && value === null ? "total" : named(value);
}

/** A new element of the page. Texts become text, never tags. */
function element(name, parent, { text, ...attributes } = {}) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}

/** Hands a text to the reader as a file. */
function save(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", document.body, { href: address, download: name });
  link.click();
  link.remove();
  // the browser reads it after the click
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/** The study's name as a file may have it. */
function fileName(ending) {
  return `${data.name.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(0, 80) || "study"}.${ending}`;
}
