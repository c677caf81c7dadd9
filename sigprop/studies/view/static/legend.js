// What the colours and marks of the plot mean, as part of the figure.

const MOST_CURVES = 14;

/** The legend's entries: curves, then what is a line, a point, a bar, and a verdict. */
function legendEntries(curves, points, marks) {
  const entries = [];
  const values = [...curves.values()];
  if (choice.curves !== NONE) {
    entries.push({ text: choice.curves, isTitle: true });
    const shown = values.length <= MOST_CURVES ? values : thinned(values, MOST_CURVES - 1);
    for (const look of shown) entries.push({ text: nameIn(choice.curves, look.value), look });
    if (shown.length < values.length)
      entries.push({ text: `${values.length - shown.length} more between` });
    entries.push({ text: "", isTitle: true });
  }
  const look = choice.curves === NONE ? values[0] : { colour: SOFT, shape: SHAPES[0] };
  if (marks.lineName) entries.push({ text: marks.lineName, look, isLine: true, dash: marks.dash });
  if (marks.pointName) entries.push({ text: marks.pointName, look });
  if (points.some((point) => point.low !== null)) {
    const bound = points.some((point) => point.isBound) ? "\u2264 " : "";
    entries.push({ text: `${bound}90 % interval`, look, isBar: true });
  }
  const grey = { look: { colour: SOFT }, isLine: true };
  if (levels(points).length > 1) entries.push({ text: "tolerance", dash: LEVEL_DASH, ...grey });
  if (points.some((point) => point.verdict === "rejected"))
    entries.push({ text: "rejected", look, isRing: true });
  if (points.some((point) => point.verdict === "inconclusive"))
    entries.push({ text: "inconclusive", look, isHollow: true });
  return entries;
}

/** This many of a list, evenly, the first and the last among them. */
function thinned(list, count) {
  return Array.from(
    { length: count },
    (_, place) => list[Math.round((place * (list.length - 1)) / (count - 1))],
  );
}

/** Draws entries as rows of equal cells from a corner; returns their height. */
function drawLegend(figure, entries, { left, top, width, columns: across }) {
  const group = drawn("g", figure, { class: "legend" });
  let place = 0;
  let row = 0;
  for (const entry of entries) {
    // a title begins a row of its own, and an empty one is room
    if (entry.isTitle && place > 0) [place, row] = [0, row + 1];
    if (entry.text === "") {
      row += 0.4;
      continue;
    }
    const [x, y] = [left + (place * width) / across, top + row * 20 + 10];
    drawEntry(group, entry, x, y, width / across);
    place = entry.isTitle ? across : place + 1;
    if (place >= across) [place, row] = [0, row + 1];
  }
  return (row + (place > 0)) * 20 + 6;
}

/** One entry: its mark and its text. */
function drawEntry(group, entry, x, y, width) {
  if (entry.isTitle) {
    label(group, x, y + 4, cut(entry.text, width), { "font-weight": 600 });
    return;
  }
  if (entry.look) drawMark(group, entry, x + 11, y);
  const indent = entry.look ? 28 : 0;
  const text = label(group, x + indent, y + 4, cut(entry.text, width - indent - 6));
  drawn("title", text, { text: entry.text });
}

/** The mark of an entry around a place. */
function drawMark(group, entry, x, y) {
  const { colour, shape } = entry.look;
  const line = { stroke: colour, fill: "none", "stroke-width": 1.8 };
  if (entry.isLine)
    drawn("path", group, { d: `M${x - 11} ${y}h22`, "stroke-dasharray": entry.dash, ...line });
  else if (entry.isBar) drawn("path", group, { d: `M${x} ${y - 7}v14m-3 0h6m-6-14h6`, ...line });
  else {
    const place = `translate(${x.toFixed(1)} ${y.toFixed(1)})`;
    const [fill, stroke] = entry.isHollow ? ["#fff", colour] : [colour, "#fff"];
    drawn("path", group, {
      d: shape,
      transform: place,
      fill,
      stroke,
      "stroke-width": entry.isHollow ? 1.6 : 0.8,
    });
    if (entry.isRing)
      drawn("circle", group, {
        transform: place,
        r: 8,
        fill: "none",
        stroke: "#B00020",
        "stroke-width": 2,
      });
  }
}
