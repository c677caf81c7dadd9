// The plot's panel: its choices, and a new figure after each of them.

const MOST_POINTS = 5000; // more are slow to draw and hide one another
const SCALES = ["auto", "linear", "log"];
let filtered = everyRow; // rows that pass the table's filters

/** Fills the panel: choices, figure, what is not drawn. */
function renderPlot() {
  settle();
  renderControls();
  drawFigure();
}

/** The choices that the quantity has; the one that was in use keeps the keyboard. */
function renderControls() {
  const panel = document.getElementById("controls");
  const focused = document.activeElement?.id;
  panel.replaceChildren();
  const rows = quantityRows();
  const plain = (names) => names.map((name) => ({ key: name, label: name }));
  if (quantities.length > 0) {
    const all = quantities.map((value) => ({ key: identity(value), label: named(value) }));
    const set = (key) => (choice.quantity = quantities.find((value) => identity(value) === key));
    control(panel, "quantity", all, identity(choice.quantity), set);
  }
  control(panel, "value", plain(valueColumns(rows)), choice.value, (key) => (choice.value = key));
  control(panel, "x axis", plain(axes(rows)), choice.x, setAxis);
  const curves = dimensions(rows).filter((name) => name !== choice.x);
  control(panel, "curves", plain([NONE, ...curves]), choice.curves, (key) => (choice.curves = key));
  for (const name of pickedDimensions(rows)) {
    control(panel, name, options(name, rows), pick(name, rows), (key) =>
      choice.picks.set(name, key),
    );
  }
  control(panel, "x scale", plain(SCALES), choice.xScale, (key) => (choice.xScale = key));
  control(panel, "y scale", plain(SCALES), choice.yScale, (key) => (choice.yScale = key));
  if (focused) document.getElementById(focused)?.focus();
}

/** Puts another parameter along the axis; curves that it told apart are the former axis's. */
function setAxis(name) {
  if (choice.curves === name) choice.curves = choice.x;
  choice.x = name;
}

/** One choice with its name. */
function control(panel, name, offered, value, set) {
  const id = `choose-${name.replaceAll(" ", "-")}`;
  const field = element("div", panel, { class: "field" });
  element("label", field, { text: name.replaceAll("_", " "), for: id });
  const select = element("select", field, { id });
  for (const { key, label: text } of offered) {
    const option = element("option", select, { text, value: key });
    option.selected = key === value;
  }
  select.disabled = offered.length < 2;
  select.addEventListener("change", () => {
    set(select.value);
    renderPlot();
  });
}

/** Draws the figure anew, as wide as there is room. */
function drawFigure() {
  const holder = document.getElementById("figure");
  const only = document.getElementById("filtered-only").checked;
  const passing = new Set(only ? filtered : []);
  const rows = quantityRows().filter((row) => !only || passing.has(row));
  const chosen = chosenPoints(rows);
  const notes = [];
  const points = drawable(chosen, notes);
  holder.replaceChildren();
  current = null;
  tip.hidden = true;
  if (points.length === 0)
    element("p", holder, {
      text: "Nothing to draw: no row of this choice has a number.",
      class: "empty",
    });
  else compose(holder, points, chosen);
  document.getElementById("plot-notes").textContent = notes.join(" ");
  document.getElementById("save-svg").disabled = points.length === 0;
}

/** The points that the axes can show; the others are counted in the notes. */
function drawable({ points, lacking, numeric }, notes) {
  const plural = (count, singular) => `${count} ${singular}${count === 1 ? "" : "s"}`;
  if (lacking.x) notes.push(`${plural(lacking.x, "point")} without ${choice.x}: not drawn.`);
  if (lacking.y) notes.push(`${plural(lacking.y, "point")} without a number: not drawn.`);
  choice.logX =
    numeric &&
    isLogScale(
      choice.xScale,
      points.map((point) => point.x),
      true,
    );
  choice.logY = isLogScale(
    choice.yScale,
    points.flatMap((point) => [point.y, point.theory]).filter((y) => y !== null),
    false,
  );
  const shown = points.filter(
    (point) =>
      !(choice.logX && point.x <= 0) &&
      !(choice.logY && [point.y, point.theory].every((y) => y === null || y <= 0)),
  );
  for (const point of shown) {
    if (choice.logY && point.y <= 0) point.y = null;
    if (choice.logY && point.theory <= 0) point.theory = null;
  }
  if (shown.some((point) => point.isBound && point.low !== null))
    notes.push("\u2264: bars of means over tokens, which are not independent, are upper bounds.");
  const below = points.length - shown.length;
  if (below) notes.push(`${plural(below, "point")} at or below 0: not on a logarithmic axis.`);
  if (shown.length > MOST_POINTS)
    notes.push(`The first ${MOST_POINTS} of ${shown.length} points are drawn: choose fewer above.`);
  return shown.slice(0, MOST_POINTS);
}

/** Whether an axis is logarithmic: as chosen, or as its numbers are better seen. */
function isLogScale(scale, numbers, isAxis) {
  return scale === "auto" ? prefersLog(numbers, isAxis) : scale === "log";
}
