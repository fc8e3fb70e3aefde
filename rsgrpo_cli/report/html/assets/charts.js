/* Charts in inline SVG, drawn for the width that they get and drawn again when it changes. */
function chart(height, draw, label) {
  const box = el("div", { class: "chart" });
  let drawn = 0;
  const redraw = () => {
    const width = Math.floor(box.clientWidth);
    if (width < 60 || width === drawn) return;
    drawn = width;
    box.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, draw(width, height)));
  };
  new ResizeObserver(redraw).observe(box);
  return box;
}

/* Round numbers between two values, at most about `most` of them, and at least three. */
function ticks(low, high, most = 5) {
  const span = high - low || 1, raw = span / most, power = 10 ** Math.floor(Math.log10(raw));
  const at = (step) => {
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
    return found;
  };
  const steps = [0.2, 0.5, 1, 2, 5, 10].map((m) => m * power), wide = steps.findIndex((s) => s >= raw * 0.999);
  return [wide, wide - 1, wide - 2].filter((i) => i >= 0).map((i) => at(steps[i])).find((found) => found.length > 2) || at(steps[wide]);
}
function extent(values, pad = 0.06) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null && Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  if (low > high) return [0, 1];
  const span = high - low || Math.abs(high) * 0.2 || 1;
  return [low - span * pad, high + span * pad];
}
function marker(kind, x, y, size = 3.4) {
  const s = size;
  if (kind === "square") return svg("rect", { x: x - s, y: y - s, width: 2 * s, height: 2 * s });
  if (kind === "diamond") return svg("path", { d: `M${x} ${y - s * 1.3}L${x + s * 1.3} ${y}L${x} ${y + s * 1.3}L${x - s * 1.3} ${y}Z` });
  if (kind === "triangle") return svg("path", { d: `M${x} ${y - s * 1.2}L${x + s * 1.2} ${y + s}L${x - s * 1.2} ${y + s}Z` });
  if (kind === "cross") return svg("path", { d: `M${x - s} ${y - s}L${x + s} ${y + s}M${x - s} ${y + s}L${x + s} ${y - s}`, class: "stroke" });
  return svg("circle", { cx: x, cy: y, r: s });
}

/* Lines over x with bands. series: {label, colour, dash, marker, points: [[x, y, low, high]]}.
   options: log (x on a log2 scale), xTicks, xLabel, yLabel, zero (a line at 0: the values are differences), markers, y ([low, high]), faint. */
function lines(series, options) {
  const every = series.flatMap((s) => s.points);
  const ys = options.y || extent(every.flatMap((p) => [p[1], p[2] ?? null, p[3] ?? null]).concat(options.zero ? [0] : []));
  const xs = [Math.min(...every.map((p) => p[0])), Math.max(...every.map((p) => p[0]))];
  const scale = options.log ? Math.log2 : (v) => v;
  return chart(options.height || 260, (W, H) => {
    const yTicks = ticks(ys[0], ys[1], H < 180 ? 4 : 5), texts = yTicks.map((v) => (options.zero && v > 0 ? "+" : "") + tickText(v, yTicks));
    const left = 10 + 7 * Math.max(...texts.map((t) => t.length)), top = 20, bottom = H - 36, right = W - 14;
    const X = (v) => left + (right - left) * (xs[1] > xs[0] ? (scale(v) - scale(xs[0])) / (scale(xs[1]) - scale(xs[0])) : 0.5);
    const Y = (v) => top + (bottom - top) * (1 - (v - ys[0]) / (ys[1] - ys[0] || 1));
    const fits = Math.max(2, Math.floor((right - left) / 46));
    let xTicks = options.xTicks || ticks(xs[0], xs[1], Math.min(fits, Math.max(xs[1] - xs[0], 1))).filter(Number.isInteger);
    if (xTicks.length > fits) xTicks = xTicks.filter((_, i) => (xTicks.length - 1 - i) % Math.ceil(xTicks.length / fits) === 0);
    return [
      yTicks.map((v, i) => [svg("line", { x1: left, x2: right, y1: Y(v), y2: Y(v), class: options.zero && v === 0 ? "axis" : "rule" }),
        svg("text", { x: left - 6, y: Y(v) + 4, class: "end" }, texts[i])]),
      xTicks.map((v) => svg("text", { x: X(v), y: bottom + 16, class: "middle" }, count(v))),
      svg("text", { x: (left + right) / 2, y: H - 4, class: "middle" }, options.xLabel || ""),
      svg("text", { x: 2, y: 12 }, options.yLabel || ""),
      series.map((s) => drawBand(s, X, Y)), series.map((s) => drawLine(s, X, Y, options)),
    ];
  }, options.label);
}
function tickText(value, all) {
  const step = all.length > 1 ? Math.abs(all[1] - all[0]) : Math.abs(value) || 1;
  if (Math.max(...all.map(Math.abs)) < 1e-3 || step >= 1e6) return value === 0 ? "0" : value.toExponential(1).replace("e+", "e").replace(/-/g, "−");
  return value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9))).replace("-", "−");
}
function drawBand(s, X, Y) {
  const known = s.points.filter((p) => p[2] !== null && p[2] !== undefined);
  if (known.length < 2) return null;
  const edge = (i, list) => list.map((p) => `${X(p[0]).toFixed(1)},${Y(p[i]).toFixed(1)}`).join(" ");
  return svg("polygon", { class: `band ${s.colour}`, points: `${edge(2, known)} ${edge(3, [...known].reverse())}` });
}
function drawLine(s, X, Y, options) {
  const known = s.points.filter((p) => p[1] !== null);
  const at = (list) => list.map((p) => `${X(p[0]).toFixed(1)},${Y(p[1]).toFixed(1)}`).join(" ");
  const smooth = s.smooth || null, group = svg("g", { class: s.colour });
  group.append(svg("polyline", { class: smooth ? "line faint" : "line", points: at(known), "stroke-dasharray": smooth ? null : s.dash }));
  if (smooth) group.append(svg("polyline", { class: "line", points: at(smooth), "stroke-dasharray": s.dash }));
  const say = options.zero ? signed : short;
  if (options.markers !== false) for (const p of known) {
    const mark = marker(s.marker, X(p[0]), Y(p[1]));
    mark.append(svg("title", {}, `${s.label}, ${options.xName || options.xLabel} ${count(p[0])}: ${say(p[1])}` +
      (p[2] !== null && p[2] !== undefined ? ` ${bracket(p[2], p[3], say)}` : "")));
    group.append(mark);
  }
  return group;
}
function legend(series) {
  return el("ul", { class: "legend" }, series.map((s) => el("li", {},
    svg("svg", { width: 34, height: 14, "aria-hidden": "true", class: s.colour },
      svg("line", { x1: 1, x2: 33, y1: 7, y2: 7, class: "line", "stroke-dasharray": s.dash }), s.markers === false ? null : marker(s.marker, 17, 7)),
    el("span", {}, s.label))));
}
/* A share of a whole, as a bar with its number beside it. */
function bar(share, text, colour) {
  const inner = el("i", { class: colour });
  inner.style.width = `${(100 * clamp(share, 0, 1)).toFixed(2)}%`;
  return el("span", { class: "share" }, el("span", { class: "bar", "aria-hidden": "true" }, inner), el("span", { class: "num" }, text));
}
/* Mean over the nine steps around each, of those that are known. */
function smoothed(points, reach = 4) {
  return points.map((p, i) => {
    const near = points.slice(Math.max(0, i - reach), i + reach + 1).filter((q) => q[1] !== null);
    return [p[0], near.length ? near.reduce((t, q) => t + q[1], 0) / near.length : null];
  }).filter((p) => p[1] !== null);
}
