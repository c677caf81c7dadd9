// From numbers to places, and where an axis has its marks.

/** Whether numbers are better seen by their logarithms: all above 0, and far or evenly apart so. */
function prefersLog(numbers, isAxis) {
  const sorted = [...new Set(numbers)].sort((one, other) => one - other);
  if (sorted.length < 2 || sorted[0] <= 0) return false;
  const ratio = sorted.at(-1) / sorted[0];
  if (!isAxis || sorted.length === 2) return ratio >= 100;
  return ratio >= 4 && unevenness(sorted.map(Math.log)) < unevenness(sorted);
}

/** How far sorted numbers are from evenly apart: the spread of their gaps over the mean gap. */
function unevenness(sorted) {
  const gaps = sorted.slice(1).map((number, place) => number - sorted[place]);
  const middle = mean(gaps);
  return Math.sqrt(mean(gaps.map((gap) => (gap - middle) ** 2))) / middle;
}

/** A scale from [low, high] to [start, end] pixels. */
function makeScale([low, high], [start, end], isLog) {
  const inner = isLog ? Math.log10 : (number) => number;
  const [first, last] = [inner(low), inner(high)];
  const at = (number) => start + ((inner(number) - first) / (last - first)) * (end - start);
  return { at, isLog, low, high, start, end };
}

/** The ends of an axis that holds these numbers, with some room at both. */
function extent(numbers, isLog) {
  const finite = numbers.filter((number) => number !== null && (!isLog || number > 0));
  if (finite.length === 0) return isLog ? [0.1, 10] : [0, 1];
  // not Math.min(...): a call takes only so many arguments
  let low = finite.reduce((one, other) => Math.min(one, other));
  let high = finite.reduce((one, other) => Math.max(one, other));
  if (isLog) {
    const room = Math.max(1.02, (high / low) ** 0.06);
    return [low / room, high * room];
  }
  const room = high > low ? 0.06 * (high - low) : Math.abs(low) * 0.1 || 1;
  return [low - room, high + room];
}

/** Marks of an axis: numbers that are round. */
function ticks(scale, count) {
  return scale.isLog ? logTicks(scale, count) : linearTicks(scale, count);
}

/** Round numbers 1, 2 or 5 times a power of ten apart. */
function linearTicks({ low, high }, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
  const marks = [];
  for (let place = Math.ceil(low / step); place * step <= high; place += 1)
    marks.push(Number((place * step).toPrecision(12)));
  return marks;
}

/** Powers of ten; where there are few of them 2 and 5 times these too. */
function logTicks(scale, count) {
  const [first, last] = [Math.floor(Math.log10(scale.low)), Math.ceil(Math.log10(scale.high))];
  const marks = (times, every) => {
    const found = [];
    for (let power = first; power <= last; power += every)
      for (const time of times) found.push(Number(`${time}e${power}`));
    return found.filter((number) => scale.low <= number && number <= scale.high);
  };
  const decades = marks([1], Math.max(1, Math.ceil((last - first) / (count + 1))));
  if (decades.length >= 3) return decades;
  const finer = marks([1, 2, 5], 1);
  return finer.length >= 2 ? finer : linearTicks(scale, count);
}

/** The values themselves as marks where they are few, without those that would touch; else round
 *  numbers. */
function axisTicks(scale, numbers, room) {
  const values = [...new Set(numbers)].sort((one, other) => one - other);
  if (values.length > 12) {
    const marks = ticks(
      scale,
      Math.max(2, Math.min(12, Math.floor((scale.end - scale.start) / room))),
    );
    const inside = marks.filter((mark) => values[0] <= mark && mark <= values.at(-1));
    return inside.length >= 3 ? inside : marks;
  }
  const kept = [];
  for (const value of values) {
    if (kept.length === 0 || scale.at(value) - scale.at(kept.at(-1)) >= room) kept.push(value);
  }
  return kept;
}
