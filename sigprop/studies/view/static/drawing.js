// The plot as SVG. All looks are attributes: the figure looks the same where it is saved.

const SVG = "http://www.w3.org/2000/svg";
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
const INK = "#1f2933";
const FAINT = "#e4e7eb";
const LEVEL_DASH = "7 4"; // of lines at the tolerance
const SOFT = "#616e7c";
// Okabe and Ito's colours, which colour-blind readers tell apart; yellow is too pale on white
const COLOURS = [
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#000000",
  "#7F7F7F",
];
// a scale that grows evenly lighter, for many numbers
const STOPS = [
  [0, 32, 76],
  [59, 73, 107],
  [124, 123, 120],
  [187, 175, 113],
  [222, 196, 60],
];
const SHAPES = [
  "M0-4.2A4.2 4.2 0 1 1 0 4.2A4.2 4.2 0 1 1 0-4.2Z",
  "M-3.7-3.7H3.7V3.7H-3.7Z",
  "M0-5L4.7 3.4H-4.7Z",
  "M0-5.2L5.2 0L0 5.2L-5.2 0Z",
  "M0 5L4.7-3.4H-4.7Z",
];

/** A new element of the figure. */
function drawn(name, parent, { text, ...attributes } = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    node.setAttribute(key, typeof value === "number" ? Number(value.toFixed(2)) : value);
  }
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
}

/** The looks of curves by their values. */
function looks(values) {
  const isScale =
    values.length > COLOURS.length && values.every((value) => numberOf(value) !== null);
  return new Map(
    values.map((value, place) => {
      const colour = isScale ? along(place / (values.length - 1)) : COLOURS[place % COLOURS.length];
      return [identity(value), { value, colour, shape: SHAPES[place % SHAPES.length] }];
    }),
  );
}

/** The colour at a share of the scale. */
function along(share) {
  const place = Math.min(share * (STOPS.length - 1), STOPS.length - 1 - 1e-9);
  const [from, to] = [STOPS[Math.floor(place)], STOPS[Math.floor(place) + 1]];
  const parts = from.map((part, index) => Math.round(part + (to[index] - part) * (place % 1)));
  return `rgb(${parts.join(",")})`;
}

/** A text of the figure, small unless told otherwise. */
function label(parent, x, y, text, attributes = {}) {
  return drawn("text", parent, { x, y, text, fill: INK, "font-size": 12, ...attributes });
}

/** A text cut to about this many pixels, with all of it to see when pointed at. */
function cut(text, width, size = 12) {
  const most = Math.max(3, Math.floor(width / (0.56 * size)));
  return text.length > most ? `${text.slice(0, most - 1)}\u2026` : text;
}

/** Frame, grid lines, marks and names of both axes. */
function drawAxes(figure, frame, { xScale, yScale, xMarks, yMarks }) {
  const group = drawn("g", figure, { class: "axes" });
  for (const { at, text } of yMarks) {
    drawn("line", group, { x1: frame.left, x2: frame.right, y1: at, y2: at, stroke: FAINT });
    label(group, frame.left - 8, at + 4, text, { "text-anchor": "end", fill: SOFT });
  }
  for (const { at, text } of xMarks) {
    drawn("line", group, { x1: at, x2: at, y1: frame.bottom, y2: frame.bottom + 5, stroke: SOFT });
    label(group, at, frame.bottom + 19, text, { "text-anchor": "middle", fill: SOFT });
  }
  drawn("path", group, {
    d: `M${frame.left} ${frame.top}V${frame.bottom}H${frame.right}`,
    fill: "none",
    stroke: SOFT,
  });
  const middle = (frame.left + frame.right) / 2;
  const xName = `${choice.x === NONE ? "" : choice.x}${xScale.isLog ? " (log)" : ""}`;
  label(group, middle, frame.bottom + 40, cut(xName, frame.right - frame.left, 13), {
    "text-anchor": "middle",
    "font-size": 13,
  });
  const yName = `${heightName()}${yScale.isLog ? " (log)" : ""}`;
  const height = (frame.top + frame.bottom) / 2;
  const turn = `translate(15 ${height.toFixed(1)}) rotate(-90)`;
  label(group, 0, 0, cut(yName, frame.bottom - frame.top, 13), {
    "text-anchor": "middle",
    "font-size": 13,
    transform: turn,
  });
}

/** What the heights are: the quantity itself, or a column that says something of it. */
function heightName() {
  if (quantities.length === 0) return choice.value;
  const itself = choice.value === mainColumn && ["measured", "value"].includes(choice.value);
  const exponents = ["effective", "fitted", "local"].includes(choice.value) ? " exponent" : "";
  return itself
    ? named(choice.quantity)
    : `${choice.value}${exponents} of ${named(choice.quantity)}`;
}

/** Theory's lines, one where points are alike but for their places; at categories short dashes. */
function drawLines(figure, lines, { at, isNumeric: joined, of, dash, half }) {
  const group = drawn("g", figure, { class: "lines" });
  for (const points of lines) {
    const places = points
      .filter((point) => of(point) !== null)
      .map((point) => at(point, of(point)));
    if (places.length === 0) continue;
    const steps = places.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`);
    const dashes = places.map(
      ([x, y]) => `M${(x - half).toFixed(2)} ${y.toFixed(2)}h${(2 * half).toFixed(2)}`,
    );
    const isPath = joined && places.length > 1;
    const d = isPath ? `M${steps.join("L")}` : dashes.join("");
    drawn("path", group, {
      d,
      fill: "none",
      stroke: points[0].look.colour,
      "stroke-width": isPath ? 1.8 : 2.4,
      "stroke-dasharray": dash,
      "stroke-linejoin": "round",
      opacity: lines.length > 24 ? 0.4 : 0.9,
      class: "line",
    });
  }
}

/** Interval bars with caps, a path a colour: thousands of elements would be slow. */
function drawBars(figure, points, { at, frame }) {
  const group = drawn("g", figure, { class: "bars" });
  const inside = (y) => Math.min(Math.max(y, frame.top), frame.bottom);
  const paths = new Map();
  for (const point of points.filter((each) => each.low !== null && each.y !== null)) {
    const [x, low] = at(point, point.low);
    const [bottom, top] = [inside(low), inside(at(point, point.high)[1])];
    const bar = `M${x.toFixed(2)} ${bottom.toFixed(2)}V${top.toFixed(2)}m-3 0h6`;
    const foot = `M${(x - 3).toFixed(2)} ${bottom.toFixed(2)}h6`;
    paths.set(point.look.colour, (paths.get(point.look.colour) ?? "") + bar + foot);
  }
  for (const [stroke, d] of paths)
    drawn("path", group, { d, stroke, fill: "none", "stroke-width": 1.4, opacity: 0.75 });
}

/** The points: filled; with a ring where rejected, hollow where inconclusive. */
function drawPoints(figure, points, { at, size }) {
  // many points hide one another less where they let through
  const group = drawn("g", figure, { class: "points", opacity: points.length > 500 ? 0.6 : 1 });
  for (const point of points.filter((each) => each.y !== null)) {
    const [x, y] = at(point, point.y);
    const place = `translate(${x.toFixed(2)} ${y.toFixed(2)})`;
    if (point.verdict === "rejected")
      drawn("circle", group, {
        transform: place,
        r: 8.5,
        fill: "none",
        stroke: "#B00020",
        "stroke-width": 2,
        class: "ring",
      });
    const hollow = point.verdict === "inconclusive";
    drawn("path", group, {
      d: point.look.shape,
      transform: size === 1 ? place : `${place} scale(${size})`,
      class: "point",
      fill: hollow ? "#fff" : point.look.colour,
      stroke: hollow ? point.look.colour : "#fff",
      "stroke-width": hollow ? 1.6 : 0.8,
    });
    point.at = [x, y];
  }
}
