/* Section 9: time, settings, lineage, versions, commands and warnings. */
function aboutSection() {
  return section("about", "The runs", null, D.runs.map((run) => runCard(run,
    el("p", { class: "mut" }, `${count(run.steps[1])} of ${many(run.steps[2], "step")} done.`, run.origin ? ` Forked from ${run.origin.run} at step ${run.origin.step}.` : ""),
    run.warnings.length ? el("div", {}, run.warnings.map((text) => el("p", { class: "note warn" }, `Warning: ${text}`))) : note("No warnings over the newest steps."),
    time(run), el("h4", {}, "Commands that make it again"), run.commands.map((command) => el("pre", { tabindex: 0 }, command)),
    numbers(["made from", "id"], run.lineage.map(([role, id]) => [role, el("code", {}, id)]), "Lineage: equal ids are equal content"),
    numbers(["package", "version"], Object.entries(run.versions), "Versions"))),
    settings(), el("h3", {}, "This page"), el("p", {}, "It was made by rsgrpo ", D.version, " with:"), el("pre", { tabindex: 0 }, D.command));
}
/* A run in a box; of many runs, boxes that open. */
function runCard(run, ...children) {
  if (D.runs.length <= 3) return el("div", { class: "card run" }, el("h3", {}, run.name), children);
  const warned = run.warnings.length ? `, ${many(run.warnings.length, "warning")}` : "";
  return el("details", { class: "card run" }, el("summary", {}, el("b", {}, run.name), ` ${run.steps[1]} of ${run.steps[2]} steps${warned}`), children);
}
function time(run) {
  const total = run.seconds.reduce((t, [, s]) => t + s, 0);
  if (!total) return missing("No time was recorded yet. Steps are made by:", run.next.train);
  return el("div", {}, el("h4", {}, `Where the time went: ${seconds(total)}`),
    stacked(run.seconds.map(([stage, s], i) => [stage, s, `t${i % 7}`]), total, (stage, s) => `${stage} ${seconds(s)}`),
    el("p", { class: "mut" }, run.seconds.map(([stage, s]) => `${stage} ${seconds(s)}`).join(" · ")),
    numbers(["stage", "time", "share"], run.seconds.map(([stage, s]) => [stage, seconds(s), percent(s / total)]), "Time in numbers"));
}
function settings() {
  const differ = Object.entries(D.settings.differ);
  return el("div", {}, D.runs.length > 1 ? [el("h3", {}, "Settings that differ"), differ.length
    ? table(["setting", ...D.runs.map((run) => run.name)], differ.map(([key, values]) => [el("code", {}, key), ...values.map((v) => (v === null ? "–" : v))]), { class: "leftall", label: "Settings that differ" })
    : note("None.")] : null,
    numbers(["setting", D.runs[0].name], Object.entries(D.settings.all).map(([key, value]) => [el("code", {}, key), value]), `All settings of ${D.runs[0].name}`));
}
