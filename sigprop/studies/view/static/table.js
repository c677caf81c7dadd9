// The table: a page of the rows that pass the filters, in the order that was asked for.

const LONG = 60; // characters of a cell that are shown at once
const filters = new Map();
const order = { name: null, direction: 1 };
const constantColumns = [...columns.keys()].filter(
  (name) => !data.varied.includes(name) && data.rows > 1 && !differ(name, everyRow),
);
const spot = { page: 0, size: 50 };
let shownRows = everyRow;

/** The columns of the table: those that are the same in every row only where asked for. */
function tableColumns() {
  const all = document.getElementById("constant").checked;
  return [...columns.keys()].filter((name) => all || !constantColumns.includes(name));
}

/** Filters and sorts anew. */
function refreshTable() {
  const { rows, invalid } = filteredRows(filters);
  filtered = rows;
  shownRows = order.name === null ? rows : sortedRows(rows, order.name, order.direction);
  spot.page = 0;
  for (const box of document.querySelectorAll("#boxes input")) {
    box.setAttribute("aria-invalid", String(invalid.includes(box.dataset.name)));
  }
  renderRows();
  if (document.getElementById("filtered-only").checked) drawFigure();
}

/** The header: a button to sort and a box to filter by for each column. */
function renderHeads() {
  const [heads, boxes] = ["heads", "boxes"].map((id) => document.getElementById(id));
  heads.replaceChildren();
  boxes.replaceChildren();
  for (const name of tableColumns()) {
    const head = element("th", heads, {
      scope: "col",
      "data-name": name,
      class: isNumeric(name) ? "number" : "",
    });
    const button = element("button", head, {
      type: "button",
      text: name,
      title: `sort by ${name}`,
    });
    element("span", button, { class: "arrow", "aria-hidden": "true" });
    button.addEventListener("click", () => sortBy(name));
    const hint = isNumeric(name) ? ">3, 4..16" : "contains";
    const box = element("input", element("td", boxes), {
      type: "text",
      "aria-label": `filter ${name}`,
      placeholder: hint,
      "data-name": name,
      spellcheck: "false",
    });
    box.value = filters.get(name) ?? "";
    box.addEventListener("input", () => {
      filters.set(name, box.value);
      refreshTable();
    });
  }
  markOrder();
}

/** Sorts by a column: upwards, then downwards, then as the rows came. */
function sortBy(name) {
  if (order.name !== name) Object.assign(order, { name, direction: 1 });
  else if (order.direction === 1) order.direction = -1;
  else Object.assign(order, { name: null, direction: 1 });
  markOrder();
  refreshTable();
}

/** Shows which column the rows are sorted by. */
function markOrder() {
  for (const head of document.querySelectorAll("#heads th")) {
    const direction =
      head.dataset.name !== order.name
        ? "none"
        : order.direction === 1
          ? "ascending"
          : "descending";
    head.setAttribute("aria-sort", direction);
    head.querySelector(".arrow").textContent = {
      none: "",
      ascending: "\u25b2",
      descending: "\u25bc",
    }[direction];
  }
}

/** The rows of this page, and where it lies among all. */
function renderRows() {
  const body = document.getElementById("rows");
  const names = tableColumns();
  const pages = Math.max(1, Math.ceil(shownRows.length / spot.size));
  spot.page = Math.min(Math.max(spot.page, 0), pages - 1);
  const first = spot.page * spot.size;
  body.replaceChildren(
    ...shownRows.slice(first, first + spot.size).map((row) => tableRow(row, names)),
  );
  const of =
    shownRows.length === data.rows
      ? `${count(data.rows)} rows`
      : `${count(shownRows.length)} of ${count(data.rows)} rows pass the filters`;
  document.getElementById("count").textContent = of;
  document.getElementById("page-number").textContent = `Page ${spot.page + 1} of ${count(pages)}`;
  document.getElementById("previous").disabled = spot.page === 0;
  document.getElementById("next").disabled = spot.page === pages - 1;
}

/** A whole number with its thousands apart. */
function count(number) {
  return number.toLocaleString("en");
}

/** One row; a verdict's colour says again what its word says. */
function tableRow(row, names) {
  const line = element("tr", null);
  for (const name of names) {
    const value = cell(name, row);
    const text = display(value);
    const node = element("td", line, { text: cut(text, LONG * 7) });
    if (isNumeric(name)) node.className = "number";
    if (text.length > LONG || exact(value) !== text) node.title = exact(value);
    if (name === "verdict" && /^\w+$/.test(text)) node.className = `verdict ${text}`;
  }
  return line;
}

/** What all rows share, below the table. */
function renderConstants() {
  const details = document.getElementById("constants");
  const known = constantColumns.filter((name) => cell(name, 0) !== null);
  details.hidden = known.length === 0;
  document.getElementById("constant-label").hidden = constantColumns.length === 0;
  document.querySelector("#constant-label span").textContent =
    `columns that are the same in every row (${constantColumns.length})`;
  details.querySelector("summary").textContent = "The same in every row";
  for (const name of known) {
    const entry = element("div", details.querySelector("dl"));
    element("dt", entry, { text: name });
    element("dd", entry, { text: display(cell(name, 0)) });
  }
}
