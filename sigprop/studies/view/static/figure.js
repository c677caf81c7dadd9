// The figure of the chosen points: where its parts lie, and what they are called.

/** The figure: axes, lines, bars, points, legend. */
function compose(holder, points, { numeric, categories }) {
  const curves = looks(choice.curves === NONE ? [null] : distinct(choice.curves, quantityRows()));
  for (const point of points) point.look = curves.get(identity(point.curve));
  const marks = markNames(points, numeric);
  const present = new Set(points.map((point) => identity(point.curve)));
  const entries = legendEntries(
    new Map([...curves].filter(([key]) => present.has(key))),
    points,
    marks,
  );
  const { figure, width, top } = sheet(holder, points);
  const frame = layOut(figure, { width, top, entries, points });
  const view = scalesFor(points, frame, numeric, categories);
  drawAxes(figure, frame, view);
  drawLevels(figure, frame, levels(points).map(view.yScale.at));
  const lines = [...lineGroups(points).values()];
  const { at, half } = view;
  if (marks.of) drawLines(figure, lines, { at, half, isNumeric: numeric, ...marks });
  drawBars(figure, points, { at, frame });
  drawPoints(figure, points, { at, size: marks.isSmall ? 0.7 : 1 });
  listen(figure, points);
  holder.append(figure);
}

/** An empty figure with its caption, and how far that reaches. */
function sheet(holder, points) {
  const width = Math.max(280, holder.clientWidth);
  const figure = drawn("svg", null, { xmlns: SVG, width, tabindex: "0", role: "img" });
  const help = `${points.length} points. Arrow keys go from point to point.`;
  figure.setAttribute("aria-label", `${caption()}: ${help}`);
  figure.setAttribute("font-family", FONT);
  drawn("rect", figure, { width: "100%", height: "100%", fill: "#fff" });
  const lines = wrapped(caption(), width - 28);
  for (const [place, text] of lines.entries()) {
    label(figure, 14, 20 + 16 * place, text, { fill: SOFT });
  }
  return { figure, width, top: 22 + 16 * lines.length };
}

/** A text as lines of at most about this many pixels, broken after commas. */
function wrapped(text, width) {
  const [first, ...others] = text.split(", ");
  const lines = [first];
  for (const part of others) {
    const longer = `${lines.at(-1)}, ${part}`;
    if (cut(longer, width) !== longer) lines.push(part);
    else lines[lines.length - 1] = longer;
  }
  return lines.map((line) => cut(line, width));
}

/** Places the legend beside the plot, or below where there is no room; returns the plot's frame. */
function layOut(figure, { width, top, entries, points }) {
  const isWide = width >= 720;
  const height = Math.round(Math.min(460, Math.max(260, width * 0.5))) + top - 38;
  const left = 40 + widestMark(points);
  const frame = { left, top, right: isWide ? width - 200 : width - 16, bottom: height - 52 };
  const corner = isWide
    ? { left: width - 178, top: 34, width: 172, columns: 1 }
    : { left: 14, top: height, width: width - 28, columns: 2 };
  const below = drawLegend(figure, entries, corner);
  const total = isWide ? Math.max(height, below + 44) : height + below;
  figure.setAttribute("height", total);
  figure.setAttribute("viewBox", `0 0 ${width} ${total}`);
  return frame;
}

/** Pixels that the vertical axis's marks take. */
function widestMark(points) {
  const scale = makeScale(extent(heights(points), choice.logY), [0, 1], choice.logY);
  return Math.max(...ticks(scale, 6).map((mark) => short(mark).length), 1) * 7;
}

/** All heights that the figure must hold. */
function heights(points) {
  // on a logarithmic axis an interval that almost reaches 0 would leave no room for the rest
  const bounds = ({ y, low, high }) => [choice.logY && low < y / 30 ? null : low, high];
  const found = points.flatMap((point) => [
    point.y,
    point.theory,
    ...(point.y === null ? [] : bounds(point)),
  ]);
  return [...found, ...levels(points)];
}

/** Where a deviation should lie: at 0, within the tolerance where all rows have one. */
function levels(points) {
  if (choice.value !== "deviation" || choice.logY) return [];
  const rows = points.flatMap((point) => point.rows);
  const tolerance = numericCell("tolerance", rows[0]);
  return tolerance === null || differ("tolerance", rows) ? [0] : [0, tolerance, -tolerance];
}

/** Draws lines at these heights from left to right. */
function drawLevels(figure, frame, heightsOf) {
  const group = drawn("g", figure, { class: "levels", stroke: SOFT });
  for (const [place, y] of heightsOf.entries()) {
    const dash = place === 0 ? {} : { "stroke-dasharray": LEVEL_DASH };
    drawn("path", group, { d: `M${frame.left} ${y.toFixed(2)}H${frame.right}`, ...dash });
  }
}

/** Both scales, their marks, and the place of a point at a height. */
function scalesFor(points, frame, numeric, categories) {
  const xs = points.map((point) => point.x);
  const across = [frame.left + 14, frame.right - 14];
  const ends = numeric ? extent(xs, choice.logX) : [-0.5, Math.max(categories.length, 1) - 0.5];
  const xScale = makeScale(ends, across, choice.logX);
  const yScale = makeScale(
    extent(heights(points), choice.logY),
    [frame.bottom, frame.top],
    choice.logY,
  );
  const each = (across[1] - across[0]) / Math.max(categories.length, 1);
  const texts = new Map(
    points.map((point) => [
      point.x,
      named(choice.x === NONE ? null : cell(choice.x, point.rows[0])),
    ]),
  );
  const xMarks = numeric
    ? axisTicks(xScale, xs, 42).map((mark) => ({
        at: xScale.at(mark),
        text: texts.get(mark) ?? short(mark),
      }))
    : categories.map((value, place) => ({
        at: xScale.at(place),
        text: cut(nameIn(choice.x, value), each),
      }));
  const yMarks = ticks(yScale, 6).map((mark) => ({ at: yScale.at(mark), text: short(mark) }));
  const { shift, half } = numeric ? { shift: () => 0, half: 11 } : sideways(points, each);
  return {
    xScale,
    yScale,
    xMarks,
    yMarks,
    half,
    at: (point, y) => [xScale.at(point.x) + shift(point), yScale.at(y)],
  };
}

/** At categories, where a place means nothing by itself, curves stand side by side. */
function sideways(points, each) {
  const names = [...new Set(points.map((point) => identity(point.curve)))];
  const step = Math.min(26, (0.7 * each) / names.length);
  const shift = (point) => (names.indexOf(identity(point.curve)) - (names.length - 1) / 2) * step;
  return { shift, half: Math.max(4, Math.min(11, 0.45 * step)) };
}

/** Points of one line each, from left to right. */
function lineGroups(points) {
  const lines = new Map();
  for (const point of points) {
    if (!lines.has(point.line)) lines.set(point.line, []);
    lines.get(point.line).push(point);
  }
  for (const line of lines.values()) line.sort((one, other) => one.x - other.x);
  return lines;
}

/** What is drawn as a line, and what points are called. */
function markNames(points, numeric) {
  if (isTheory())
    return {
      of: numeric ? (point) => point.y : null,
      lineName: numeric ? "theory" : null,
      pointName: numeric ? null : "theory",
      isSmall: numeric,
    };
  const beside = theoryColumn();
  const pointName =
    choice.value === mainColumn && choice.value !== "effective" ? "measured" : choice.value;
  const lineName = { theory: "theory", limit: "limit" }[beside] ?? `theory (${beside})`;
  if (points.some((point) => point.theory !== null))
    return { of: (point) => point.theory, lineName, pointName };
  // nothing else shows the points' course
  return { of: numeric ? (point) => point.y : null, dash: "2 4", lineName: null, pointName };
}

/** What the figure shows, in a line. */
function caption() {
  const rows = quantityRows();
  const picked = pickedDimensions(rows).map((name) => [name, pick(name, rows)]);
  const parts = picked
    // parameters that no colour tells apart are named, too
    .filter(([name, key]) => key !== ALL || data.varied.includes(name))
    .map(([name, key]) => {
      const chosen = options(name, rows).find((option) => option.key === key);
      return `${name}: ${chosen.label}`;
    });
  return [quantities.length ? named(choice.quantity) : data.name, ...parts].join(", ");
}
