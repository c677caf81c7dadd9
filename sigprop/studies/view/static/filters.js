// What a filter box says, and which rows pass all of them.

const COMPARISONS = {
  ">": (one, other) => one > other,
  ">=": (one, other) => one >= other,
  "<": (one, other) => one < other,
  "<=": (one, other) => one <= other,
};

/** The test of a cell that a filter's text asks for; null where the text makes no sense. */
function predicate(text, numeric) {
  const wanted = text.trim();
  const equality = /^(!?=)\s*(.*)$/s.exec(wanted);
  if (equality) return equal(equality[2], equality[1] === "=");
  const range = /^(.+?)\s*\.\.\s*(.+)$/s.exec(wanted);
  if (range && numberOf(range[1]) !== null && numberOf(range[2]) !== null) {
    const [low, high] = [numberOf(range[1]), numberOf(range[2])];
    return ofNumbers((number) => low <= number && number <= high);
  }
  const comparison = /^([<>]=?)\s*(.*)$/s.exec(wanted);
  if (comparison && numberOf(comparison[2]) !== null) {
    const [test, limit] = [COMPARISONS[comparison[1]], numberOf(comparison[2])];
    return ofNumbers((number) => test(number, limit));
  }
  if (comparison && numeric) return null;
  const part = wanted.toLowerCase();
  return (value) => display(value).toLowerCase().includes(part);
}

/** The test for a whole value: as a number where both are one, else as text. */
function equal(wanted, same) {
  const number = numberOf(wanted);
  const lower = wanted.toLowerCase();
  return (value) => {
    const isEqual = number !== null && numberOf(value) === number;
    return (isEqual || display(value).toLowerCase() === lower) === same;
  };
}

/** A test that only numbers pass. */
function ofNumbers(test) {
  return (value) => {
    const number = numberOf(value);
    return number !== null && test(number);
  };
}

/** The rows that pass every filter, and the columns whose filter makes no sense. */
function filteredRows(texts) {
  const invalid = [];
  let rows = everyRow;
  for (const [name, text] of texts) {
    if (text.trim() === "") continue;
    const test = predicate(text, isNumeric(name));
    if (test === null) invalid.push(name);
    else rows = rows.filter((row) => test(cell(name, row)));
  }
  return { rows, invalid };
}

/** These rows in a column's order (direction 1 or -1); rows without a value come last in both. */
function sortedRows(rows, name, direction) {
  const ranks = rankOf(name);
  return [...rows].sort((one, other) => {
    const [first, second] = [ranks[one], ranks[other]];
    if (first === null || second === null)
      return (first === null) - (second === null) || one - other;
    return direction * (first - second) || one - other;
  });
}

/** Each row's place in a column's order, null without a value: texts are compared once each. */
function rankOf(name) {
  const values = [...new Map(columns.get(name).map((value) => [identity(value), value])).values()];
  const sorted = values.filter((value) => value !== null).sort(compare);
  const ranks = new Map();
  let rank = 0;
  for (const [place, value] of sorted.entries()) {
    // "1/2" and 0.5 are equal: their rows keep the order in which they came
    if (place > 0 && compare(sorted[place - 1], value) !== 0) rank += 1;
    ranks.set(identity(value), rank);
  }
  return columns.get(name).map((value) => (value === null ? null : ranks.get(identity(value))));
}

/** Rows as CSV: all digits, what a row lacks empty. */
function csv(rows) {
  const names = [...columns.keys()];
  const lines = rows.map((row) => names.map((name) => quoted(exact(cell(name, row)))).join(","));
  return [names.map(quoted).join(","), ...lines].join("\n") + "\n";
}

/** A value with all its digits. */
function exact(value) {
  return value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** A cell of a CSV file. */
function quoted(text) {
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
