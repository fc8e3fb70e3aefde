/* Sections 1 and 2: the verdict, pass@k, and the paired difference to a baseline. */
const evaluated = D.arms.map((_, i) => i).filter((i) => D.arms[i].seeds > 0);
const state = { baseline: D.baseline, listeners: [] };
const others = () => evaluated.filter((arm) => arm !== state.baseline && D.pairs[`${state.baseline},${arm}`]);
const pair = (arm) => D.pairs[`${state.baseline},${arm}`];
/* The arm that the page is about: the last one named that was trained. */
function main() {
  const left = others(), trained = left.filter((arm) => !D.arms[arm].base);
  return (trained.length ? trained : left).at(-1);
}
const kName = (k) => (k === 0 ? "mean reward" : `pass@${count(k)}`);
/* pass@k has three decimals everywhere; a reward may have any size. */
const isShare = () => D.benchmark && !D.benchmark.graded;
const shown = (value) => (isShare() && Number.isFinite(value) ? value.toFixed(3).replace(/^-0\.000$/, "0.000").replace("-", "−") : short(value));
const signedShown = (value) => (value > (isShare() ? 0.0005 : 0) ? "+" : "") + shown(value);
const bracket = (low, high, say = shown) => (low === null ? "" : `[${say(low)}, ${say(high)}]`);
const measured = () => D.benchmark && `${D.benchmark.name}: ${many(D.benchmark.problems, "problem")}, ` +
  `${many(D.benchmark.samples, "sample")} each, ${many(D.benchmark.seeds, "seed")}`;

function verdictSection() {
  const body = el("div", {});
  const draw = () => replace(body, verdictBody());
  state.listeners.push(draw);
  draw();
  return section("verdict", "Verdict", measured(), noEvaluations(), body);
}
function noEvaluations() {
  const going = D.runs.filter((run) => run.steps[1] < run.steps[2]);
  return [going.length ? note(going.map((run) => `${run.name} has done ${run.steps[1]} of ${many(run.steps[2], "step")}`).join("; ") + ".") : null,
    D.missing.map(([label, command]) => missing(`${label} has no evaluation to show yet:`, command)),
    D.stale.map((text) => el("p", { class: "note warn" }, `Stale: ${text}`))];
}
/* Of a single evaluation: the command that makes one to compare it with, on the same problems. */
function second(text) {
  const only = D.arms[evaluated[0]], run = D.runs[only.runs[0] || 0];
  return only.base ? missing(`${text} The newest policy of the run is measured by:`, run.next.eval)
    : missing(`${text} The base model of the run is measured by:`, run.next.base);
}
function verdictBody() {
  if (!evaluated.length) return missing("Nothing has been evaluated, so there is no verdict.");
  if (evaluated.length < 2) {
    return [second("There is one evaluation and nothing to compare it with."), cards(evaluated[0], null)];
  }
  const arm = main(), rest = others().filter((other) => other !== arm && !D.arms[other].base);
  const unlike = [...new Set(others().flatMap((other) => pair(other).unlike))];
  return [
    chooser(), el("p", { class: "verdict", id: "sentence" }, pair(arm).sentence),
    rest.length > 2 ? allDifferences() : rest.map((other) => el("p", {}, pair(other).sentence)),
    unlike.map((text) => el("p", { class: "note warn" }, `Not alike, beside the policy: ${text}`)),
    cards(arm, pair(arm)), unevenNote(), seedNote(arm),
  ];
}
/* Every policy against the baseline, at the smallest and the largest k. */
function allDifferences() {
  const at = (row) => [signedShown(row.difference), " ", bracket(row.low, row.high, signedShown)], ends = (rows) => [...new Set([rows[0], rows.at(-1)])];
  return table(["policy", ...ends(pair(main()).rows).map((row) => `${kName(row.k)}, difference to ${D.arms[state.baseline].label}`)],
    others().map((other) => [name(other), ...ends(pair(other).rows).map(at)]), { label: "Every policy against the baseline" });
}
function chooser() {
  const options = evaluated.filter((arm) => evaluated.some((other) => D.pairs[`${arm},${other}`]));
  const usable = options.filter((arm) => arm === D.baseline || evaluated.every((o) => o === arm || D.pairs[`${arm},${o}`]));
  if (usable.length < 2) return null;
  return choice("Compare with", usable.map((arm) => [arm, D.arms[arm].label]), state.baseline, (value) => {
    state.baseline = Number(value);
    state.listeners.forEach((listener) => listener());
  });
}
/* Beside a difference stands the value that it is of: both from as many samples as all policies have. */
function cards(arm, comparison) {
  const rows = comparison ? comparison.rows : D.arms[arm].curve.map((row) => ({ k: row[0], after: row[1] }));
  const chosen = rows.length <= 4 ? rows : [0, 1 / 2, 3 / 4, 1].map((share) => rows[Math.round(share * (rows.length - 1))]);
  return el("div", { class: "cards" }, chosen.map((row) => el("div", { class: "card" },
    el("div", { class: "mut" }, `${kName(row.k)}, ${D.arms[arm].label}`),
    el("div", { class: "big" }, shown(row.after)), comparison ? change(row) : null)));
}
function change(row) {
  const clear = row.low !== null && (row.low > 0 || row.high < 0);
  const kind = !clear ? "mut" : row.difference > 0 ? "ok" : "bad";
  return el("div", { class: kind }, `${clear ? (row.difference > 0 ? "▲ " : "▼ ") : "≈ "}${signedShown(row.difference)} ${bracket(row.low, row.high, signedShown)}`,
    el("br"), `against ${shown(row.before)} of ${D.arms[state.baseline].label}`);
}
function unevenNote() {
  const fewest = D.benchmark.samples, more = evaluated.filter((arm) => D.arms[arm].samples > fewest);
  if (!more.length) return null;
  return note(`Policies are compared by the first ${many(fewest, "sample")} of each problem, as many as all of them have. ` +
    `${more.map((arm) => `${D.arms[arm].label} has ${count(D.arms[arm].samples)}`).join(", ")}: the curve of pass@k below is of all of them.`);
}
function seedNote(arm) {
  const last = pair(arm).rows.at(-1);
  if (last.seeds.length) {
    return note(`${kName(last.k)}, seed by seed: ${last.seeds.map((v) => signedShown(v)).join(", ")}.`);
  }
  if (D.arms[arm].seeds > 1 || D.arms[state.baseline].seeds > 1) return null;
  return note("One training run on each side: the intervals are over problems, and say nothing about another seed.");
}

function passkSection() {
  const title = D.benchmark && D.benchmark.graded ? "Mean reward" : "pass@k";
  if (!evaluated.length) return section("passk", title, null, missing("No policy has been evaluated. One is measured by:", D.runs[0].next.eval));
  const body = el("div", { class: "two" });
  const draw = () => replace(body, passkPanel(), differencePanel());
  state.listeners.push(draw);
  draw();
  if (D.benchmark.graded) return section("passk", title, "Brackets are 95% intervals over problems.", body);
  return section("passk", title, "Bands are 95% intervals over problems, and over seeds where there are several. The bands of two policies overlap even where " +
    "the policies differ clearly, because both contain the spread between easy and hard problems: read the paired difference.", body);
}
function passkPanel() {
  const series = evaluated.map((arm) => ({ ...seriesOf(arm), points: D.arms[arm].curve }));
  const ks = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  const rows = ks.map((k) => [kName(k), ...series.map((s) => {
    const row = s.points.find((p) => p[0] === k);
    return row ? `${shown(row[1])} ${bracket(row[2], row[3])}` : "–";
  })]);
  const headings = ["", ...series.map((s) => s.label)];
  if (D.benchmark.graded) return el("div", {}, el("h3", {}, "Mean reward"), table(headings, rows));
  return el("div", {}, el("h3", {}, "pass@k"),
    lines(series, { log: true, xTicks: ks, xLabel: "k, number of tries", xName: "k", yLabel: "pass@k", label: "pass@k against k" }),
    legend(series), numbers(headings, rows, "pass@k in numbers"));
}
function differencePanel() {
  if (evaluated.length < 2) return null;
  const label = D.arms[state.baseline].label;
  const series = others().map((arm) => ({ ...seriesOf(arm), points: pair(arm).rows.map((r) => [r.k, r.difference, r.low, r.high]) }));
  const headings = ["", label, "policy", "difference", "95%", "p", "better / worse / equal"];
  const tables = others().map((arm) => [el("h4", {}, name(arm), ` minus ${label}`), table(headings, pair(arm).rows.map((r) => [
    kName(r.k), shown(r.before), shown(r.after), signedShown(r.difference), bracket(r.low, r.high, signedShown), chance(r.p), `${r.better} / ${r.worse} / ${r.tied}`]))]);
  const plot = D.benchmark.graded ? null : [lines(series, { log: true, xTicks: D.benchmark.ks, zero: true, xLabel: "k, number of tries", xName: "k",
    yLabel: `difference to ${label}`, label: `Paired difference to ${label} against k` }), legend(series)];
  return el("div", {}, el("h3", {}, `Paired difference to ${label}`), plot,
    el("details", { class: "numbers", open: D.benchmark.graded }, el("summary", {}, "Differences in numbers"), tables,
      el("p", { class: "mut" }, "p is of a two-sided permutation test that flips the signs of the problems' differences, one row at a time; of several seeds there is none.")));
}
