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
  const width = Math.max(280, holder.clientWidth);
  const figure = drawn("svg", null, {
    xmlns: SVG,
    width,
    tabindex: "0",
    role: "img",
    "font-family": FONT,
  });
  figure.setAttribute(
    "aria-label",
    `${caption()}: ${points.length} points. Arrow keys go from point to point.`,
  );
  drawn("rect", figure, { width: "100%", height: "100%", fill: "#fff" });
  label(figure, 14, 20, cut(caption(), width - 28, 12.5), { "font-size": 12.5, fill: SOFT });
  const frame = layOut(figure, width, entries, points);
  const view = scalesFor(points, frame, numeric, categories);
  drawAxes(figure, frame, view);
  const lines = [...lineGroups(points).values()];
  const at = view.at;
  if (marks.of)
    drawLines(figure, lines, {
      at,
      isNumeric: numeric,
      of: marks.of,
      dash: marks.dash,
      half: view.half,
    });
  drawBars(figure, points, { at, frame });
  drawPoints(figure, points, { at, size: marks.isSmall ? 0.7 : 1 });
  listen(figure, points);
  holder.append(figure);
}

/** Places the legend beside the plot, or below where there is no room; returns the plot's frame. */
function layOut(figure, width, entries, points) {
  const isWide = width >= 720;
  const height = Math.round(Math.min(460, Math.max(280, width * 0.5)));
  const left = 40 + widestMark(points);
  const frame = { left, top: 38, right: isWide ? width - 200 : width - 16, bottom: height - 52 };
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
  return points.flatMap(({ y, low, high, theory }) => [
    y,
    theory,
    ...(y === null ? [] : [low, high]),
  ]);
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
    : categories.map((value, place) => ({ at: xScale.at(place), text: cut(named(value), each) }));
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
    .filter(([, key]) => key !== ALL)
    .map(([name, key]) => {
      const chosen = options(name, rows).find((option) => option.key === key);
      return `${name}: ${chosen.label}`;
    });
  return [quantities.length ? named(choice.quantity) : data.name, ...parts].join(", ");
}
