/* Sections 5 and 6: a group of completions with advantages that can be computed anew, and its tokens. */
const STEPS = D.groups.steps.filter((s) => s.groups.length);
const G = { at: STEPS.length - 1, group: 0, sample: 0, shade: "surprise", estimator: null, settings: {}, draw: () => {} };
const TEXT = 0, REWARD = 1, VERDICT = 2, ANSWER = 3, ADVANTAGE = 4, LENGTH = 5, WAS_CUT = 6, TOKENS = 7;
const current = () => STEPS[G.at].groups[G.group];
const rewardsOf = (group) => group.samples.map((s) => s[REWARD]);

function groupsSection() {
  const title = "A group, and what each estimator makes of it";
  if (!STEPS.length) return section("groups", title, null, missing("No step has advantages yet. They are made by:", D.runs[0].next.train));
  const controls = el("div", { class: "controls" }), knobs = el("div", { class: "controls" }), body = el("div", {}), tokens = el("div", {});
  useTrained();
  G.draw = (what) => {
    if (what !== "values") { replace(controls, groupControls()); replace(knobs, estimatorControls()); }
    replace(body, groupBody());
    if (what !== "values") replace(tokens, tokensBody());
  };
  G.draw();
  return [
    section("groups", title, "Advantages are computed in this page, by the formulas that rsgrpo uses.", notes(D.groups.notes), controls, knobs, body),
    section("tokens", "Tokens of a completion", null, tokens),
  ];
}
/* The estimator as the step was made with it, where the page has it. */
function useTrained() {
  const made = STEPS[G.at].settings, known = Estimators.names.includes(made.estimator);
  G.estimator = known ? made.estimator : "rs_grpo";
  G.settings = known ? { ...starts(G.estimator), ...own(made) } : starts("rs_grpo");
}
const own = (made) => Object.fromEntries(Object.entries(made).filter(([key]) => !["estimator", "scale", "step", "identity", "schedule", "beta_end", "schedule_steps"].includes(key)));
function starts(estimator) {
  const size = current().samples.length;
  return Object.fromEntries(Object.entries(Estimators.controls[estimator] || {}).map(([key, control]) =>
    [key, Array.isArray(control) ? control[0] : Math.min(control.start, control.to === "size" ? size : control.to)]));
}
const isGraded = (group) => group.samples.some((s) => D.statuses[s[VERDICT]] === "scored");
/* How well a group did, in a few words. */
function told(group) {
  const known = rewardsOf(group).filter((r) => r !== null);
  if (group.samples.every((s) => D.statuses[s[VERDICT]] === "skipped")) return "no rewards";
  if (isGraded(group)) return `mean reward ${known.length ? short(known.reduce((a, b) => a + b, 0) / known.length) : "–"}`;
  return `${rightOf(group)}/${group.samples.length} right`;
}
const rightOf = (group) => group.samples.filter((s) => isRight(D.statuses[s[VERDICT]])).length;

function groupControls() {
  const runs = STEPS.map((s, i) => [i, `${D.runs[s.run].name}, step ${s.step}`]);
  const list = STEPS[G.at].groups.map((g, i) => [i, `${told(g)} · ${g.id}`]);
  return [
    choice("Run and step", runs, G.at, (value) => { G.at = Number(value); G.group = 0; G.sample = 0; useTrained(); G.draw(); }),
    choice("Group", list, G.group, (value) => { G.group = Number(value); G.sample = 0; G.draw(); }),
    el("span", { class: "chips" },
      el("button", { type: "button", class: "chip", disabled: G.group === 0, on: { click: () => { G.group--; G.sample = 0; G.draw(); } } }, "previous"),
      el("button", { type: "button", class: "chip", disabled: G.group >= list.length - 1, on: { click: () => { G.group++; G.sample = 0; G.draw(); } } }, "next")),
  ];
}
function estimatorControls() {
  const chosen = Estimators.controls[G.estimator] || {}, size = current().samples.length;
  return [
    choice("Estimator", Estimators.names.map((n) => [n, n]), G.estimator, (value) => { G.estimator = value; G.settings = starts(value); G.draw(); }),
    Object.entries(chosen).map(([key, control]) => (Array.isArray(control)
      ? choice(key, control.map((v) => [v, v]), G.settings[key], (value) => { G.settings[key] = value; G.draw("values"); })
      : slider(key, control, size))),
    el("button", { type: "button", class: "chip", id: "as-trained", on: { click: () => { useTrained(); G.draw(); } } }, "as trained"),
    el("details", { class: "numbers" }, el("summary", {}, "Estimators that are not here"),
      Object.entries(Estimators.notInThePage).map(([n, why]) => note(`${n}: ${why}.`)), note("An estimator of your own: it is a Python function.")),
  ];
}
function slider(key, control, size) {
  const to = control.to === "size" ? size : control.to, value = el("output", {}, exact(G.settings[key]));
  const input = el("input", { type: "range", id: `slider-${key}`, min: Math.min(control.from, G.settings[key]), max: Math.max(to, G.settings[key]),
    step: control.step, value: G.settings[key],
    on: { input: (event) => { G.settings[key] = Number(event.target.value); replace(value, exact(G.settings[key])); G.draw("values"); } } });
  return el("label", { class: "choice slider" }, el("span", {}, `${key} `, el("b", {}, value)), input);
}
function attempt(estimator, rewards, settings) {
  try { return { values: Estimators.compute(estimator, rewards, settings) }; } catch (error) { return { problem: error.message }; }
}
function described(made) {
  const said = Object.entries(own(made)).filter(([key]) => !["eps", "ddof", "quantile"].includes(key)).map(([key, v]) => `${key} ${typeof v === "number" ? exact(v) : v}`);
  return [made.estimator, ...said].join(", ") + (made.scale && made.scale !== "none" ? `, scaled by ${made.scale} over the step` : "");
}
function groupBody() {
  const group = current(), made = STEPS[G.at].settings, rewards = rewardsOf(group);
  const now = attempt(G.estimator, rewards, G.settings), label = described({ estimator: G.estimator, ...G.settings });
  const order = group.samples.map((_, i) => i);
  if (now.values) order.sort((a, b) => now.values[b] - now.values[a] || a - b);
  const top = Math.max(1e-12, ...group.samples.map((s) => Math.abs(s[ADVANTAGE])), ...(now.values || []).map(Math.abs));
  const row = (i) => {
    const s = group.samples[i];
    return el("tr", { "aria-selected": i === G.sample ? "true" : "false", on: { click: () => { G.sample = i; G.draw(); } } },
      el("td", { "data-label": "completion" }, el("button", { type: "button", class: "link", "aria-label": `show the tokens of completion ${i}` }, `#${i}`), " ", block(D.texts[s[TEXT]])),
      el("td", { "data-label": "extracted answer" }, quoted(s[ANSWER], "gold")),
      el("td", { "data-label": "verdict" }, verdict(D.statuses[s[VERDICT]]), s[WAS_CUT] ? el("div", { class: "mut" }, "cut") : null),
      el("td", { "data-label": "reward" }, short(s[REWARD])),
      el("td", { "data-label": "as trained", class: "trained" }, signedBar(s[ADVANTAGE], top)),
      el("td", { "data-label": "as chosen", class: "chosen", "data-value": now.values ? now.values[i] : null }, now.values ? signedBar(now.values[i], top) : "–"));
  };
  return [
    el("div", { class: "card" }, el("code", {}, group.id), D.texts[group.prompt] === "" ? null : block(D.texts[group.prompt]), el("div", {}, el("span", { class: "mut" }, "reference answer: "), quoted(group.gold, "gold")),
      el("div", { class: "mut" }, `${told(group)}; the group is ${group.status.replace("_", " ")}. As trained: ${described(made)}. As chosen: ${label}.`)),
    Estimators.names.includes(made.estimator) ? null : note(`The page cannot compute ${made.estimator}` +
      `${Estimators.notInThePage[made.estimator] ? `: ${Estimators.notInThePage[made.estimator]}` : ", which is a Python function of yours"}. ${G.estimator} is chosen instead.`),
    made.scale && made.scale !== "none" ? note(`The run scaled the advantages of each step (${made.scale}); those as chosen are not scaled.`) : null,
    now.problem ? el("p", { class: "note warn", id: "refused" }, `${G.estimator} refuses this group: ${now.problem}`) : null,
    el("div", { class: "scroll" }, el("table", { class: "stack group" },
      el("thead", {}, el("tr", {}, ["completion", "extracted answer", "verdict", "reward", "advantage as trained", "advantage as chosen"].map((h) => el("th", { scope: "col" }, h)))),
      el("tbody", {}, order.map(row)))),
    weightChart(group, rewards, label),
  ];
}
function signedBar(value, top) {
  const inner = el("i", { class: value < 0 ? "minus" : "plus" });
  inner.style.width = `${(50 * Math.abs(value) / top).toFixed(1)}%`;
  return el("span", { class: "share" }, el("span", { class: "bar signed", "aria-hidden": "true" }, inner), el("span", { class: "num" }, signed(value, 4)));
}
/* How much an estimator makes of a group of 0/1 rewards by how many are right: the mean size of its advantages. */
function weightChart(group, rewards, label) {
  if (rewards.some((r) => r !== 0 && r !== 1)) return note("The weight by right answers is drawn for rewards of 0 and 1; these are others.");
  const size = rewards.length, made = STEPS[G.at].settings;
  const weights = (estimator, settings) => [...Array(size + 1).keys()].map((c) => {
    const found = attempt(estimator, Array.from({ length: size }, (_, i) => (i < c ? 1 : 0)), settings).values;
    return [c, found ? found.reduce((t, a) => t + Math.abs(a), 0) / size : null];
  });
  const chosen = { label: `as chosen: ${label}`, colour: "c2", dash: null, marker: "square", points: weights(G.estimator, G.settings) };
  const series = [chosen];
  if (Estimators.names.includes(made.estimator)) {
    series.unshift({ label: `as trained: ${described({ ...made, scale: "none" })}`, colour: "c1", dash: "5 4", marker: "circle", points: weights(made.estimator, own(made)) });
  }
  const rows = [...Array(size + 1).keys()].map((c) => [c, ...series.map((s) => short(s.points[c][1], 4))]);
  return el("div", {}, el("h3", {}, "Weight of a group by its right answers"),
    lines(series, { height: 230, xLabel: `right answers of ${size}`, yLabel: "mean size of the advantages", label: "Weight of a group by its right answers" }),
    legend(series), numbers(["right", ...series.map((s) => s.label)], rows));
}

const SHADES = {
  surprise: ["−log p, nats", "How unlikely the sampler found each token, in nats: 0 is certain, 0.69 one in two, 2.3 one in ten."],
  entropy: ["entropy, nats", "How open the choice of each token was to the trainer, in nats: 0 if only one could follow, 0.69 for two equally likely ones, 2.3 for ten."],
  difference: ["trainer minus sampler, nats", "The trainer's log-probability minus the sampler's: 0 where both agree."],
  ratio: ["ratio", "exp(trainer minus sampler), the importance ratio before it is capped: 1 where both agree."],
};
function tokensBody() {
  const group = current(), sample = group.samples[G.sample], found = sample[TOKENS], run = STEPS[G.at].run;
  const head = [
    el("div", { class: "controls" },
      choice("Completion", group.samples.map((s, i) => [i, `#${i}, ${isRight(D.statuses[s[VERDICT]]) ? "right" : STATUS[D.statuses[s[VERDICT]]] || D.statuses[s[VERDICT]]}`]), G.sample,
        (value) => { G.sample = Number(value); G.draw(); }),
      toggles(Object.entries(SHADES).map(([value, [text]]) => [value, text]), G.shade, (value) => { G.shade = value; G.draw(); })),
    el("p", { class: "mut" }, SHADES[G.shade][1]),
  ];
  if (!found) return [head, note("The tokens of this completion are left out to keep the page small.")];
  const [, surprise, difference, entropy] = found;
  if (G.shade !== "surprise" && !difference.length) {
    const why = STEPS[G.at].trainer;
    return [head, why ? missing(...why) : note("The trainer's numbers are kept for groups with a gradient, which this one does not have.")];
  }
  if (G.shade === "entropy" && !entropy.length) return [head, note("This step was made by an older version, which kept no entropies: see the mean of each update in the curves below.")];
  const values = { surprise, entropy, difference, ratio: difference.map((v) => (v === null ? null : Math.exp(v))) }[G.shade];
  const size = (v) => (v === null ? 0 : G.shade === "ratio" ? Math.abs(Math.log(v)) : Math.abs(v));
  const scale = ["surprise", "entropy"].includes(G.shade) ? 4 : Math.max(0.05, ...values.map(size));
  const say = G.shade === "difference" ? signed : short;
  const text = (i) => D.groups.pieces[run][found[0][i]];
  const spans = found[0].map((_, i) => {
    const span = el("span", { class: "token", title: `${SHADES[G.shade][0]}: ${say(values[i])}` }, text(i));
    span.style.setProperty("--shade", String(Math.min(0.85, size(values[i]) / scale).toFixed(3)));
    return span;
  });
  const most = values.map((v, i) => [v, i]).filter(([v]) => v !== null).sort((a, b) => size(b[0]) - size(a[0]) || a[1] - b[1]).slice(0, 10);
  return [
    head, D.groups.spelled[run] ? null : note("The tokenizer of this run is not here, so tokens are shown by their numbers."),
    el("p", { class: "tokens", dir: "auto" }, spans),
    sample[LENGTH] > found[0].length ? note(`${count(sample[LENGTH] - found[0].length)} further tokens are left out.`) : null,
    numbers(["token", "place", SHADES[G.shade][0]], most.map(([v, i]) => [el("code", {}, text(i)), i, say(v)]), "The ten tokens with the largest values"),
  ];
}
