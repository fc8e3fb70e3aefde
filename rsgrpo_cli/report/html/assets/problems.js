/* Sections 3 and 4: what changed between two policies, and all problems, hardest first. */
const ROWS = D.problems ? D.problems.rows : [];
const byId = new Map(ROWS.map((row) => [row.id, row]));
const tries = () => D.benchmark.samples * D.benchmark.seeds;

/* How often as clear a split as 0 and c of n each would come about if both policies were equally good, both ways. */
function evidence(right, n) {
  let p = 1;
  for (let i = 0; i < right; i++) p *= (n - i) / (2 * n - i);
  return Math.min(1, 2 * p);
}
const strength = (p) => (p < 0.01 ? "strong" : p < 0.05 ? "some" : "weak, may be chance");

function changedSection() {
  const title = "What changed";
  if (!D.problems || evaluated.length < 2) return section("changed", title, null,
    evaluated.length === 1 ? second("Two evaluations are needed to see what changed.") : missing("Two evaluations are needed to see what changed. One is made by:", D.runs[0].next.eval));
  if (!ROWS.length || ROWS[0].right === null) return section("changed", title, null, missing("Rewards are grades here, so no problem is solved or unsolved; the difference of the mean reward is above."));
  const body = el("div", {});
  let arm = main();
  const draw = () => { if (!others().includes(arm)) arm = main(); replace(body, changedBody(arm, (value) => { arm = Number(value); draw(); })); };
  state.listeners.push(draw);
  draw();
  return section("changed", title, null, body);
}
function changedBody(arm, choose) {
  const base = state.baseline, n = tries();
  const list = (from, to) => ROWS.filter((row) => row.right[from] === 0 && row.right[to] > 0)
    .map((row) => ({ row, p: evidence(row.right[to], n), hits: row.right[to] })).sort((a, b) => a.p - b.p || (a.row.id < b.row.id ? -1 : 1));
  const gained = list(base, arm), lost = list(arm, base), detail = el("div", { class: "detail", "aria-live": "polite" });
  const open = (row) => replace(detail, sideBySide(row, [base, arm]));
  const picker = (title, found, sign) => el("div", {}, el("h3", {}, `${title} (${found.length})`),
    found.length ? el("div", { class: "list short", tabindex: 0 }, el("table", { class: "pick" },
      el("thead", {}, el("tr", {}, ["problem", `right of ${count(n)}`, "evidence"].map((h) => el("th", { scope: "col" }, h)))),
      el("tbody", {}, found.map(({ row, p, hits }) => el("tr", { "data-id": row.id, on: { click: () => open(row) } },
        el("td", {}, el("button", { type: "button", class: "link", on: { click: () => open(row) } }, quoted(asked(row), "gold"))),
        el("td", {}, sign > 0 ? `0 → ${hits}` : `${hits} → 0`), el("td", {}, `${strength(p)} (p ${chance(p)})`)))))) : note("None."));
  const first = gained[0] || lost[0];
  if (first) open(first.row);
  return [
    el("p", {}, name(arm), " against ", name(base), `: ${many(gained.length, "problem")} newly solved and ${lost.length} newly lost, in ${count(n)} tries each. ` +
      "The evidence is how likely as clear a split is if both are equally good at the problem (Fisher's exact test, two-sided); of hundreds of problems, a few come out so by chance."),
    others().length > 1 ? choice("Policy", others().map((other) => [other, D.arms[other].label]), arm, choose) : null,
    el("div", { class: "two" }, picker("Newly solved", gained, 1), picker("Newly lost", lost, -1)), detail,
  ];
}
function problemHead(row) {
  return el("div", { class: "head" }, el("code", {}, row.id), " ", el("a", { href: `#problem=${encodeURIComponent(row.id)}`, class: "perma", title: "A link to this problem" }, "link"),
    row.prompt === undefined || D.texts[row.prompt] === "" ? null : block(D.texts[row.prompt]), el("div", {}, el("span", { class: "mut" }, "reference answer: "), quoted(row.gold, "gold")));
}
function sideBySide(row, arms) {
  return el("div", { class: "card" }, problemHead(row),
    row.samples ? el("div", { class: "sides" }, arms.map((arm) => completions(row, arm))) : note("The completions of this problem are left out to keep the page small."));
}
function completions(row, arm) {
  const shown = row.samples[arm], total = shown.reduce((t, s) => t + s[1], 0), left = row.distinct[arm] - shown.length;
  const told = row.right ? `${count(row.right[arm])} of ${count(tries())} right` : `mean reward ${short(row.value[arm])}`;
  return el("div", {}, el("h4", {}, name(arm), el("span", { class: "mut" }, ` ${told}`)),
    el("ul", { class: "completions" }, shown.map(([text, times, status, answer, cut]) => el("li", {},
      el("div", { class: "meta" }, verdict(D.statuses[status], D.benchmark.graded), wasCut(status, cut), el("span", { class: "mut" }, ` ×${count(times)}`),
        answer === null ? null : [el("span", { class: "mut" }, " answer "), quoted(answer, "gold")]), block(D.texts[text])))),
    left > 0 ? note(`${many(left, "other completion")}, ${many(Math.max(0, tries() - total), "sample")}, not shown.`) : null);
}

const turned = (row, from, to) => row.right && to !== undefined && from !== undefined && row.right[from] === 0 && row.right[to] > 0;
/* Grades are neither right nor wrong. */
const usable = () => FILTERS.filter(([value]) => ROWS.some((row) => row.right) || ["all", "truncated", "unreadable"].includes(value));
/* Cut at the token limit, or without a readable answer, in one of twenty samples or more. */
const often = (times) => times > 0 && times >= tries() / 20;
const FILTERS = [
  ["all", "all", () => true],
  ["never", "never solved", (row) => row.right && row.right.every((c) => c === 0)],
  ["always", "always solved", (row) => row.right && row.right.every((c) => c === tries())],
  ["gained", "newly solved", (row) => turned(row, state.baseline, main())],
  ["lost", "newly lost", (row) => turned(row, main(), state.baseline)],
  ["truncated", "truncated, 5% or more", (row) => row.truncated.some(often)],
  ["unreadable", "no readable answer, 5% or more", (row) => row.unreadable.some(often)],
];
const PAGE = 100;
const ease = (row) => (row.right ? row.right : row.value.map((v) => v || 0)).reduce((a, b) => a + b, 0);
const browser = { filter: "all", query: "", shown: PAGE, selected: null, list: [] };

function problemsSection() {
  const title = "Problems, hardest first";
  if (!D.problems) return section("problems", title, null, missing("Problems are listed once a policy has been evaluated:", D.runs[0].next.eval));
  const body = el("tbody", {}), told = el("p", { class: "mut", "aria-live": "polite" }), more = el("p", {}), filters = el("div", {});
  const detail = el("div", { class: "detail", id: "problem" });
  const search = el("input", { type: "search", id: "search", placeholder: "Search id, problem or answer  ( / )", "aria-label": "Search problems",
    on: { input: (event) => { browser.query = event.target.value; browser.shown = PAGE; draw(); if (!browser.list.some((row) => row.id === browser.selected)) first(); } } });
  const draw = () => {
    browser.list = matching();
    replace(filters, toggles(usable().map(([value, text, test]) => [value, `${text} ${count(ROWS.filter(test).length)}`]), browser.filter,
      (value) => { browser.filter = value; browser.shown = PAGE; draw(); first(); }));
    const rows = browser.list.slice(0, browser.shown);
    replace(body, rows.map(problemRow));
    replace(told, `${many(browser.list.length, "problem")} of ${count(D.problems.total)}.`, el("span", { class: "keys" }, " Keys: j next, k previous, / search."));
    replace(more, browser.list.length > rows.length ? el("button", { type: "button", class: "chip", on: { click: () => { browser.shown += PAGE; draw(); } } },
      `show ${Math.min(PAGE, browser.list.length - rows.length)} more`) : null);
    mark();
  };
  /* The problem is opened, and the address names it; replaced, so that "back" leaves the page as it did before. */
  browser.select = (row, scroll) => {
    open(row);
    history.replaceState(null, "", `#problem=${encodeURIComponent(row.id)}`);
    mark(scroll);
  };
  const first = () => {
    if (browser.list.length) return browser.select(browser.list[0]);
    browser.selected = null;
    history.replaceState(null, "", "#problems");
    replace(detail, note("No problem matches."));
  };
  const open = (row) => {
    browser.selected = row.id;
    replace(detail, sideBySide(row, evaluated));
    const at = browser.list.indexOf(row);
    if (at >= browser.shown) { browser.shown = at + PAGE; draw(); }
  };
  const mark = (scroll) => {
    for (const tr of body.children) {
      const on = tr.dataset.id === browser.selected;
      tr.setAttribute("aria-selected", on ? "true" : "false");
      if (on && scroll) tr.scrollIntoView({ block: "nearest" });
    }
  };
  const problemRow = (row) => el("tr", { "data-id": row.id, on: { click: () => browser.select(row) } },
    el("td", {}, el("button", { type: "button", class: "link" }, quoted(asked(row), "gold")), el("br"), el("code", { class: "mut" }, row.id)),
    evaluated.map((arm) => el("td", { "data-label": D.arms[arm].label }, share(row, arm))));
  state.listeners.push(draw);
  draw();
  if (browser.list.length) { open(browser.list[0]); mark(); }
  return section("problems", title, null, notes(D.problems.notes), search, filters, told,
    el("div", { class: "split" }, el("div", {}, el("div", { class: "list", tabindex: 0, "aria-label": "Problems" },
      el("table", { class: "pick problems" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "problem"),
        evaluated.map((arm) => el("th", { scope: "col" }, name(arm))))), body)), more), detail));
}
/* A problem in a line: the beginning of its text, or its reference answer where the text was left out. */
function asked(row) {
  const text = row.prompt === undefined ? "" : plain(D.texts[row.prompt]).trim();
  return text ? (text.length > 90 ? `${text.slice(0, 90)}…` : text) : row.gold;
}
function share(row, arm) {
  const colour = seriesOf(arm).colour;
  if (row.right) return bar(row.right[arm] / tries(), count(row.right[arm]), colour);
  const all = ROWS.flatMap((r) => r.value).filter((v) => v !== null), top = Math.max(...all), low = Math.min(0, ...all);
  return row.value[arm] === null ? "–" : bar((row.value[arm] - low) / (top - low || 1), short(row.value[arm]), colour);
}
function matching() {
  const test = FILTERS.find(([value]) => value === browser.filter)[2], query = browser.query.trim().toLowerCase();
  const found = ROWS.filter((row) => test(row) && (!query || row.id.toLowerCase().includes(query) || plain(row.gold).toLowerCase().includes(query) ||
    (row.prompt !== undefined && plain(D.texts[row.prompt]).toLowerCase().includes(query))));
  return found.sort((a, b) => ease(a) - ease(b) || (a.id < b.id ? -1 : 1));
}
function step(by) {
  const at = browser.list.findIndex((row) => row.id === browser.selected);
  const next = browser.list[clamp(at + by, 0, browser.list.length - 1)];
  if (next) browser.select(next, true);
}
