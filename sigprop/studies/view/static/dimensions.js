// What rows of one quantity differ in, and what the reader chose of it.

const ALL = "all";
const LAST = "last of each cell";
const MEAN = "mean";
const NONE = "none";
const MAIN = ["measured", "value", "slope", "fitted", "effective"]; // what was found, best first
const BESIDE = {
  measured: "theory",
  value: "theory",
  slope: "reference",
  fitted: "effective",
  effective: "limit",
};

const choice = {
  quantity: null,
  value: null,
  x: null,
  curves: null,
  xScale: "auto",
  yScale: "auto",
  logX: false,
  logY: false,
  picks: new Map(),
};

/** The column that holds what was found: measured before predicted. */
const mainColumn = MAIN.find((name) => columns.has(name)) ?? null;
const quantities = columns.has("quantity") ? distinct("quantity", everyRow) : [];

const rowsByQuantity = new Map();
const dimensionsByRows = new Map();

/** The rows of the chosen quantity. */
function quantityRows() {
  if (quantities.length === 0) return everyRow;
  const wanted = identity(choice.quantity);
  if (!rowsByQuantity.has(wanted)) {
    rowsByQuantity.set(
      wanted,
      everyRow.filter((row) => identity(cell("quantity", row)) === wanted),
    );
  }
  return rowsByQuantity.get(wanted);
}

/** Parameters and keys in which a quantity's rows differ. */
function dimensions(rows) {
  if (!dimensionsByRows.has(rows)) {
    const keys = data.keys.filter((name) => name !== "quantity" && !data.varied.includes(name));
    const names = [...data.varied, ...keys].filter(
      (name) => columns.has(name) && differ(name, rows),
    );
    dimensionsByRows.set(rows, names);
  }
  return dimensionsByRows.get(rows);
}

/** Whether rows have more than one value in a column. */
function differ(name, rows) {
  return rows.some((row) => identity(cell(name, row)) !== identity(cell(name, rows[0])));
}

/** What may stand along the axis: every varied parameter, and keys in which rows differ. */
function axes(rows) {
  return [...new Set([...data.varied, ...dimensions(rows)])];
}

/** Columns of numbers that can be drawn: what was found first. */
function valueColumns(rows) {
  const drawn = [...columns.keys()].filter(
    (name) =>
      !data.varied.includes(name) &&
      !data.keys.includes(name) &&
      rows.some((row) => typeof cell(name, row) === "number"),
  );
  const first = MAIN.filter((name) => drawn.includes(name));
  return [...first, ...drawn.filter((name) => !first.includes(name))];
}

/** The axis that tells most at first: a parameter with numbers, and not the seed. */
function defaultAxis(rows) {
  const offered = axes(rows);
  const differing = offered.filter((name) => differ(name, rows) && name !== "seed");
  const varied = differing.filter((name) => data.varied.includes(name));
  return varied.find(isNumeric) ?? varied[0] ?? differing.find(isNumeric) ?? offered[0] ?? NONE;
}

/** The parameter that tells curves apart at first. */
function defaultCurves(rows) {
  const others = data.varied.filter((name) => name !== choice.x && differ(name, rows));
  return others.find((name) => name !== "seed") ?? NONE;
}

/** Whether last applications can be asked for: not while applications are on the axis. */
function offersLast() {
  return ![choice.x, choice.curves].some(
    (name) => name === "application" || name === "application_2",
  );
}

/** Whether tokens can be averaged over: not while they are told apart. */
function offersMean() {
  return ![choice.x, choice.curves].some((name) => name === "token" || name === "token_2");
}

/** The choices among a dimension's values, the first one first. */
function options(name, rows) {
  const values = distinct(name, rows).map((value) => ({
    key: identity(value),
    label: nameIn(name, value),
  }));
  const all = { key: ALL, label: "all" };
  if (name.startsWith("application") && offersLast())
    return [{ key: LAST, label: LAST }, all, ...values];
  if (name.startsWith("token") && offersMean()) return [{ key: MEAN, label: MEAN }, all, ...values];
  if (name === "seed") return [all, { key: MEAN, label: MEAN }, ...values];
  return [all, ...values];
}

/** A dimension's choice before the reader made one. */
function defaultPick(name, offered) {
  if (offered[0].key !== ALL) return offered[0].key;
  if (data.varied.includes(name)) return ALL;
  const total = offered.find((option) => option.key === ""); // of all groups together
  const last = name === "steps" || name === "application_2";
  return (total ?? (last ? offered.at(-1) : offered[1])).key;
}

/** What is asked of a dimension; a choice that this quantity does not offer falls back. */
function pick(name, rows) {
  const offered = options(name, rows);
  const picked = choice.picks.get(name);
  return offered.some((option) => option.key === picked) ? picked : defaultPick(name, offered);
}

/** Dimensions that have a choice of their own: neither on the axis nor told apart by colour. A pair
 *  is averaged over, or its last taken, as one. */
function pickedDimensions(rows) {
  const free = dimensions(rows).filter((name) => name !== choice.x && name !== choice.curves);
  return free.filter((name) => {
    const first = name.endsWith("_2") ? name.slice(0, -2) : null;
    return !(first && free.includes(first) && [LAST, MEAN].includes(pick(first, rows)));
  });
}

/** Makes every choice one that this quantity offers. */
function settle() {
  if (!quantities.some((value) => identity(value) === identity(choice.quantity)))
    choice.quantity = quantities[0] ?? null;
  const rows = quantityRows();
  const values = valueColumns(rows);
  if (!values.includes(choice.value)) choice.value = values[0] ?? null;
  if (!axes(rows).includes(choice.x)) choice.x = defaultAxis(rows);
  const curves = dimensions(rows).filter((name) => name !== choice.x);
  if (choice.curves !== NONE && !curves.includes(choice.curves))
    choice.curves = defaultCurves(rows);
}
