// Connects the page's buttons, and draws it for the first time.

/** Calls back when an element of the page is used. */
function on(id, kind, act) {
  document.getElementById(id).addEventListener(kind, act);
}

/** Shows another page of rows. */
function turn(step) {
  spot.page += step;
  renderRows();
}

on("previous", "click", () => turn(-1));
on("next", "click", () => turn(1));
on("page-size", "change", (event) => {
  Object.assign(spot, { size: Number(event.target.value), page: 0 });
  renderRows();
});
on("constant", "change", () => {
  // a column that is not seen filters nothing
  for (const name of constantColumns) filters.delete(name);
  if (constantColumns.includes(order.name)) order.name = null;
  renderHeads();
  refreshTable();
});
on("clear", "click", () => {
  filters.clear();
  renderHeads();
  refreshTable();
});
on("filtered-only", "change", drawFigure);
on("save-csv", "click", () => save(fileName("csv"), csv(shownRows), "text/csv"));
on("save-svg", "click", () => {
  const figure = document.querySelector("#figure svg").cloneNode(true);
  figure.querySelector(".marker").remove();
  save(fileName("svg"), new XMLSerializer().serializeToString(figure), "image/svg+xml");
});

renderHeads();
renderConstants();
renderPlot();
refreshTable();

let drawnWidth = document.getElementById("figure").clientWidth;
new ResizeObserver(([{ contentRect }]) => {
  // a new figure may change the height, never the width: no circle
  if (Math.round(contentRect.width) === Math.round(drawnWidth)) return;
  drawnWidth = contentRect.width;
  drawFigure();
}).observe(document.getElementById("figure"));
