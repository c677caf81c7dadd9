// From the reader's choices to points: where, how sure, and what theory says there.

/** The points to draw, and in words what is not drawn; `rows`: those that may be. */
function chosenPoints(rows) {
  const all = quantityRows();
  const picked = pickedDimensions(all).map((name) => [name, pick(name, all)]);
  let chosen = rows;
  for (const [name, key] of picked) {
    if (![ALL, LAST, MEAN].includes(key))
      chosen = chosen.filter((row) => identity(cell(name, row)) === key);
  }
  const names = dimensions(all);
  const isLast = picked.some(([, key]) => key === LAST);
  if (isLast) chosen = lastApplications(chosen, names);
  const together = averaged(picked);
  const apart = names.filter(
    (name) => !together.includes(name) && !(isLast && name.startsWith("application")),
  );
  const members = together.length
    ? [...grouped(chosen, apart).values()]
    : chosen.map((row) => [row]);
  const lines = apart.filter((name) => name !== choice.x);
  return placed(members, lines, { all, together });
}

/** The columns over whose values means are taken: a pair of tokens is one. */
function averaged(picked) {
  const means = picked.filter(([, key]) => key === MEAN).map(([name]) => name);
  return means.includes("token") ? [...means, "token_2"] : means;
}

/** Rows that are alike in these columns. */
function grouped(rows, names) {
  const groups = new Map();
  for (const row of rows) {
    const key = names.map((name) => identity(cell(name, row))).join("\u0000");
    if (groups.has(key)) groups.get(key).push(row);
    else groups.set(key, [row]);
  }
  return groups;
}

/** Of rows that differ in their applications alone the last; of pairs the last second one. */
function lastApplications(rows, names) {
  const others = names.filter((name) => !name.startsWith("application"));
  const order = (row) => [cell("application_2", row) ?? -1, cell("application", row) ?? -1];
  return [...grouped(rows, others).values()].map((alike) =>
    alike.reduce((best, row) => {
      const [one, other] = [order(best), order(row)];
      return other[0] > one[0] || (other[0] === one[0] && other[1] > one[1]) ? row : best;
    }),
  );
}

/** Points with their places; lines join points that are alike in `lineNames`. */
function placed(members, lineNames, { all, together }) {
  const numeric = choice.x !== NONE && isNumeric(choice.x);
  const categories = numeric || choice.x === NONE ? [] : distinct(choice.x, all);
  const places = new Map(categories.map((value, place) => [identity(value), place]));
  const points = [];
  const lacking = { x: 0, y: 0 };
  for (const rows of members) {
    const value = choice.x === NONE ? null : cell(choice.x, rows[0]);
    const x = choice.x === NONE ? 0 : numeric ? numberOf(value) : places.get(identity(value));
    const found = average(rows, together);
    if (x === null) lacking.x += 1;
    else if (found.y === null && found.theory === null) lacking.y += 1;
    else {
      const curve = choice.curves === NONE ? null : cell(choice.curves, rows[0]);
      const line = lineNames.map((name) => identity(cell(name, rows[0]))).join("\u0000");
      points.push({ rows, x, curve, line, verdict: worst(rows), ...found });
    }
  }
  return { points, lacking, numeric, categories };
}

/** What rows say together: means. Seeds are independent: halves of their intervals add up as
 *  squares. Tokens of one network are not: a mean's half is at most the mean of theirs. */
function average(rows, together) {
  if (!together.includes("seed")) return { ...dependent(rows), isBound: rows.length > 1 };
  const parts = [...grouped(rows, ["seed"]).values()].map(dependent);
  const y = mean(parts.map((part) => part.y));
  const half = (end) => {
    const halves = parts.map((part) => (part[end] === null ? null : (part[end] - part.y) ** 2));
    const square = mean(halves);
    return square === null || y === null ? null : Math.sqrt(square / parts.length);
  };
  const [below, above] = [half("low"), half("high")];
  return {
    y,
    low: below === null ? null : y - below,
    high: above === null ? null : y + above,
    theory: mean(parts.map((part) => part.theory)),
    isBound: rows.length > parts.length,
  };
}

/** Means over rows that may depend on one another. */
function dependent(rows) {
  const intervals = rows.map((row) => interval(row, choice.value));
  const complete = intervals.every((bounds) => bounds !== null);
  return {
    y: mean(rows.map((row) => numericCell(choice.value, row))),
    low: complete ? mean(intervals.map((bounds) => bounds[0])) : null,
    high: complete ? mean(intervals.map((bounds) => bounds[1])) : null,
    theory: mean(rows.map((row) => numericCell(theoryColumn(), row))),
  };
}

/** The mean of numbers; null where one is lacking. */
function mean(numbers) {
  return numbers.includes(null)
    ? null
    : numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

/** A row's number in a column, else null. */
function numericCell(name, row) {
  const value = name === null ? null : cell(name, row);
  return typeof value === "number" ? value : null;
}

/** The column that says what theory says of the chosen one; null where none does. */
function theoryColumn() {
  const beside = choice.value === mainColumn ? BESIDE[choice.value] : undefined;
  return beside !== undefined && columns.has(beside) ? beside : null;
}

/** Whether the chosen column is theory's own: a line is drawn, there is nothing measured. */
function isTheory() {
  if (theoryColumn() !== null) return false;
  const measured = ["se", "measured", "fitted", "slope", "samples"].some((name) =>
    columns.has(name),
  );
  return (
    ["theory", "predicted", "reference", "limit", "effective"].includes(choice.value) || !measured
  );
}

/** A row's 90 % interval of a column: as it was judged where it was, else 1.645 standard errors. */
function interval(row, name) {
  const y = numericCell(name, row);
  const judged = ["deviation", "lower", "upper"].map((column) => numericCell(column, row));
  if (y === null) return null;
  if (name === "deviation") return judged.includes(null) ? null : [judged[1], judged[2]];
  if (name === mainColumn && columns.has("deviation")) {
    // the judged interval is the deviation's, in units of the scale
    const scale = numericCell("scale", row) ?? 1;
    return judged.includes(null)
      ? null
      : [1, 2].map((end) => y + (judged[end] - judged[0]) * scale);
  }
  const error = numericCell(name === mainColumn ? "se" : `${name}_se`, row);
  return error === null ? null : [y - Z90 * error, y + Z90 * error];
}

/** The verdict that a point must not hide. */
function worst(rows) {
  const verdicts = rows.map((row) => cell("verdict", row));
  return ["rejected", "inconclusive"].find((verdict) => verdicts.includes(verdict)) ?? null;
}
