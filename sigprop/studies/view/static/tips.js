// What a point says when it is pointed at, or reached with the arrow keys.

const tip = document.getElementById("tip");
const REACH = 22; // pixels within which a point is pointed at
let current = null; // the point that is shown

/** Shows points of a figure: the nearest one under the pointer, the next one by arrow keys. */
function listen(figure, points) {
  const ordered = points
    .filter((point) => point.at)
    .sort((one, other) => one.at[0] - other.at[0] || other.at[1] - one.at[1]);
  const marker = drawn("circle", figure, {
    r: 9,
    fill: "none",
    stroke: INK,
    "stroke-width": 1.5,
    visibility: "hidden",
    class: "marker",
  });
  const show = (point) => showTip(figure, marker, point);
  figure.addEventListener("pointermove", (event) => show(nearest(figure, ordered, event)));
  figure.addEventListener("pointerdown", (event) => show(nearest(figure, ordered, event)));
  // a finger leaves as it is lifted: what it pointed at stays
  figure.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") show(null);
  });
  figure.addEventListener("blur", () => show(null));
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (event.key === "Escape") show(null);
    if (!step || ordered.length === 0) return;
    event.preventDefault();
    const place = ordered.indexOf(current) + (current === null && step < 0 ? 0 : step);
    show(ordered[(place + ordered.length) % ordered.length]);
  });
}

/** The point nearest to the pointer, none where all are far. */
function nearest(figure, points, event) {
  const box = figure.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let best = null;
  let least = REACH;
  for (const point of points) {
    const distance = Math.hypot(point.at[0] - x, point.at[1] - y);
    if (distance < least) [best, least] = [point, distance];
  }
  return best;
}

/** Shows a point's values beside it, or hides what is shown. */
function showTip(figure, marker, point) {
  if (point === current && point !== null) return;
  current = point;
  tip.hidden = point === null;
  marker.setAttribute("visibility", point === null ? "hidden" : "visible");
  if (point === null) return;
  marker.setAttribute("cx", point.at[0]);
  marker.setAttribute("cy", point.at[1]);
  tip.replaceChildren();
  const list = element("dl", tip);
  for (const [name, value] of tipEntries(point)) {
    element("dt", list, { text: name });
    element("dd", list, { text: value });
  }
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const [x, y] = point.at;
  const right = x + 16 + width <= figure.clientWidth;
  tip.style.left = `${Math.max(0, right ? x + 16 : x - 16 - width)}px`;
  // inside the window where there is room
  const above = figure.getBoundingClientRect().top;
  const lowest = window.innerHeight - above - height - 8;
  tip.style.top = `${Math.max(Math.min(y - height / 2, lowest), 8 - above, -60)}px`;
}

/** All that a point's row holds; of a mean over rows what they share, and the means. */
function tipEntries({ rows, y, low, high, theory }) {
  const shared = [...columns.keys()].filter(
    (name) => cell(name, rows[0]) !== null && !differ(name, rows),
  );
  const entries = shared.map((name) => [name, display(cell(name, rows[0]))]);
  if (rows.length > 1) {
    entries.push(["mean of rows", String(rows.length)], [`mean ${choice.value}`, display(y)]);
    if (theory !== null) entries.push([`mean ${theoryColumn()}`, display(theory)]);
  }
  if (low !== null) entries.push(["90 % interval", `${short(low, 4)} .. ${short(high, 4)}`]);
  return entries;
}
