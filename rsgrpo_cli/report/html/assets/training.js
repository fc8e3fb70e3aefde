/* Sections 7 and 8: curves over steps, and what became of each prompt. */
const CURVE_NAMES = {
  reward_mean: "mean reward", "pass@1": "right completions (pass@1)", "pass@G": "groups with a right answer (pass@G)",
  cumulative_solve_rate: "training problems solved so far", entropy: "entropy, nats per token", groups_mixed: "groups with right and wrong answers",
  completion_length_mean: "completion length, tokens", truncated_fraction: "share cut at the token limit", advantage_rms: "size of the advantages (RMS)",
  grad_norm: "gradient norm", logprob_diff_mean: "|trainer − sampler|, nats per token", importance_ratio_max: "largest importance ratio",
  ratio_capped_fraction: "share of capped ratios", clip_fraction_high: "share clipped above", clip_fraction_low: "share clipped below",
  kl: "KL to the base model", lr: "learning rate", seconds_step: "seconds per step",
};
const SMOOTHED = 12; // steps; fewer are drawn as they are
function curvesSection() {
  const title = "Curves over steps";
  if (!D.curves.length) return section("curves", title, null, missing("No step is finished yet. Steps are made by:", D.runs[0].next.train));
  const drawn = Object.keys(CURVE_NAMES).filter((key) => key !== "pass@1" || D.curves.some((c) => !same(c.series[key], c.series.reward_mean)));
  const names = drawn.filter((key) => D.curves.some((c) => varies(c.series[key])));
  const flat = drawn.filter((key) => !names.includes(key) && D.curves.some((c) => c.series[key]));
  const several = D.curves.some((c) => c.runs > 1), thinned = Math.max(...D.curves.map((c) => c.every));
  const smooth = D.curves.some((c) => c.steps.length > SMOOTHED);
  return section("curves", title, (smooth ? "Thin lines are the steps, thick lines the mean over the nine steps around." : "A point for each step.") +
    (several ? " Where several seeds are shown as one, the line is their mean and the band goes from the lowest to the highest." : "") +
    (thinned > 1 ? ` Every ${thinned}th step is shown, and all are in metrics.parquet.` : ""),
    legend(D.curves.map((c) => ({ ...seriesOf(c.arm), markers: false }))),
    el("div", { class: "small" }, names.map(curveCard)),
    flat.length ? note("The same at every step, or nearly: " + flat.map((key) => `${CURVE_NAMES[key]} ${constant(key)}`).join("; ") + ".") : null,
    evaluatedCurves());
}
/* The value of a curve that does not move: one for all, or one for each policy where they differ. */
function constant(key) {
  const known = D.curves.filter((c) => c.series[key]).map((c) => [D.arms[c.arm].label, exact(c.series[key][0].find((v) => v !== null))]);
  return new Set(known.map(([, value]) => value)).size === 1 ? known[0][1] : known.map(([label, value]) => `${value} (${label})`).join(", ");
}
function varies(series) {
  const known = series ? series[0].filter((v) => v !== null) : [];
  return Math.max(...known) - Math.min(...known) > 1e-4 * Math.max(...known.map(Math.abs));
}
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b); // where rewards are 0 and 1, pass@1 is the mean reward
function curveCard(key) {
  const series = D.curves.filter((c) => c.series[key]).map((c) => {
    const [mean, low, high] = c.series[key];
    const points = c.steps.map((s, i) => [s, mean[i], low ? low[i] : null, high ? high[i] : null]);
    return { ...seriesOf(c.arm), points, smooth: points.length > SMOOTHED ? smoothed(points) : null };
  });
  const all = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  const chosen = all.filter((_, i) => i === all.length - 1 || i % Math.ceil(all.length / 12) === 0);
  const value = (s, step) => { const p = s.points.find((q) => q[0] === step); return p ? short(p[1], 4) + (p[2] === null ? "" : ` (${short(p[2], 4)} to ${short(p[3], 4)})`) : "–"; };
  return el("div", { class: "card" }, el("h3", {}, CURVE_NAMES[key]),
    lines(series, { height: 160, markers: false, xLabel: "step", label: `${CURVE_NAMES[key]} over steps` }),
    numbers(["step", ...series.map((s) => s.label)], chosen.map((step) => [step, ...series.map((s) => value(s, step))])));
}
/* pass@k of every evaluated policy of the runs: how evaluation went while training did. */
function evaluatedCurves() {
  const rows = D.runs.flatMap((run, at) => run.evaluated.map((e) => ({ at, run: run.name, ...e })));
  const policies = new Set(rows.map((r) => `${r.at} ${r.policy}`));
  if (policies.size < 2) return null;
  return [evaluationCharts(rows), numbers(["run", "policy", "benchmark", "samples", "", "value", "95%"],
    rows.map((r) => [r.run, r.policy, r.benchmark, count(r.samples), kName(r.k), short(r.value), bracket(r.low, r.high)]), "All evaluations of these runs")];
}
/* A chart for the smallest and one for the largest k, of the benchmark of the page. Of several seeds: their mean, the lowest, the highest.
   The base model is the same for all, in whichever run it was evaluated. */
function evaluationCharts(rows) {
  const shown = rows.filter((r) => D.benchmark && r.benchmark === D.benchmark.name), ks = [...new Set(shown.map((r) => r.k))].sort((a, b) => a - b);
  const point = (policy, own) => {
    const values = own.map((r) => r.value), mean = values.reduce((a, b) => a + b, 0) / values.length;
    return own.length === 1 ? [policy, mean, own[0].low, own[0].high] : [policy, mean, Math.min(...values), Math.max(...values)];
  };
  const curve = (arm, k) => {
    const own = shown.filter((r) => r.k === k && D.arms[arm].runs.includes(r.at));
    if (own.length && own.every((r) => r.policy > 0) && !D.settings.differ["model.name"]) own.push(...shown.filter((r) => r.k === k && r.policy === 0));
    return [...new Set(own.map((r) => r.policy))].sort((a, b) => a - b).map((policy) => point(policy, own.filter((r) => r.policy === policy)));
  };
  const several = (arm) => new Set(D.arms[arm].runs).size > 1;
  const cards = [...new Set([ks[0], ks.at(-1)])].map((k) => {
    const arms = D.arms.map((_, arm) => arm).filter((arm) => !D.arms[arm].base && D.arms.findIndex((a) => !a.base && same(a.runs, D.arms[arm].runs)) === arm);
    const series = arms.map((arm) => ({ ...seriesOf(arm), points: curve(arm, k) })).filter((s) => s.points.length > 1);
    if (!series.length) return null;
    const policies = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
    const value = (s, policy) => { const p = s.points.find((q) => q[0] === policy); return p ? `${short(p[1])} ${bracket(p[2], p[3])}` : "–"; };
    return el("div", { class: "card" }, el("h3", {}, `${kName(k)} on ${D.benchmark.name}, by policy`),
      lines(series, { height: 190, xTicks: policies, xLabel: "updates behind the policy", xName: "policy", label: `${kName(k)} by policy` }),
      el("p", { class: "mut" }, arms.some(several) ? "Bands: of several seeds from the lowest to the highest, of one 95% over problems." : "Bands: 95% over problems."),
      numbers(["policy", ...series.map((s) => s.label)], policies.map((p) => [p, ...series.map((s) => value(s, p))])));
  });
  return el("div", { class: "small" }, cards);
}

const KINDS = [
  ["learnt", "learnt", "no right answer at first, some at the last visit"],
  ["forgotten", "forgotten", "right answers before, none at the last visit"],
  ["never", "never found", "no right answer in two visits or more"],
  ["always", "always right", "all right at every visit"],
  ["mixed", "in between", "everything else"],
  ["once", "visited once", "nothing to compare yet"],
];
const MARKS = ["○", "◐", "●"];
function visitsSection() {
  const title = "Prompts by visits";
  const about = "What became of each training prompt over the steps that drew it. ○ none right, ◐ some, ● all; the numbers are right answers of all.";
  const runs = D.visits.map((_, run) => run), seen = runs.filter((run) => D.visits[run].prompts && D.visits[run].prompts.length);
  const some = seen.length ? seen : runs.slice(0, 1), body = el("div", {});
  const draw = (shown) => replace(body, shown.map((run) => el("div", {}, shown.length > 1 ? el("h3", {}, D.runs[run].name) : null, visitsOf(run))));
  draw(some.length > 2 ? some.slice(0, 1) : some);
  return section("visits", title, about,
    some.length > 2 ? choice("Run", some.map((run) => [run, D.runs[run].name]), some[0], (value) => draw([Number(value)])) : null, body);
}
function visitsOf(run) {
  const own = D.visits[run];
  if (own.prompts && own.prompts.length) return [notes(own.notes), visitsBody(own)];
  return own.notes.length ? notes(own.notes) : missing("No step has rewards yet. They are made by:", D.runs[run].next.train);
}
function visitsBody(own) {
  const total = own.kinds.reduce((a, b) => a + b, 0), list = el("div", {});
  let kind = KINDS.find(([key], i) => own.kinds[i] && key !== "once") || KINDS[5], shown = 10;
  const draw = () => {
    const rows = own.prompts.filter((row) => row[1] === kind[0]);
    replace(list, el("p", { class: "mut" }, `${kind[1]}: ${kind[2]}.`), table(["prompt", "visits (step: right of all)"], rows.slice(0, shown).map(([id, , visits]) => [
      el("code", {}, id), el("span", { class: "visits" }, visits.map(([step, right, n]) => el("span", { class: "visit", title: `step ${step}: ${right} of ${n} right` },
        MARKS[right === 0 ? 0 : right === n ? 2 : 1], ` ${step}: ${right}/${n}`)))]), { class: "leftall", label: kind[1] }),
      rows.length > shown ? el("button", { type: "button", class: "chip", on: { click: () => { shown += 100; draw(); } } }, `show ${Math.min(100, rows.length - shown)} more`) : null);
  };
  draw();
  const options = KINDS.map(([key, text], i) => [key, `${text} ${count(own.kinds[i])}`]);
  return el("div", {}, el("p", {}, `${count(total)} prompts were visited.`), byVisit(own.by_visit),
    toggles(options, kind[0], (value) => { kind = KINDS.find(([key]) => key === value); shown = 10; draw(); }), list);
}
function byVisit(rows) {
  const shown = rows.slice(0, 12);
  return el("div", {}, el("div", { class: "stacks" }, shown.map(([none, some, all], i) => {
    const n = none + some + all;
    return el("div", { class: "stackrow" }, el("span", { class: "mut" }, `visit ${i + 1}, ${many(n, "prompt")}`), stacked([["none", none, "s-none"], ["some", some, "s-some"], ["all", all, "s-all"]], n));
  })), numbers(["visit", "none right", "some right", "all right"], rows.slice(0, 50).map((row, i) => [i + 1, ...row.map(count)])));
}
/* A bar in parts, each with its name and number written in it or beside it. */
function stacked(parts, total, text) {
  const box = el("div", { class: "stacked", role: "img", "aria-label": parts.map(([n, v]) => `${n} ${v}`).join(", ") });
  for (const [label, value, colour] of parts) {
    if (!value) continue;
    const said = text ? text(label, value) : `${label} ${percent(value / total)}`;
    const part = el("span", { class: colour, title: said }, value / total > 0.14 ? said : "");
    part.style.flexGrow = String(value);
    box.append(part);
  }
  return box;
}
