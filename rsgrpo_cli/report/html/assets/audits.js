/* What a second grader decides otherwise than the rewards: one table per step or evaluation, and grader. */
function auditSection() {
  if (!D.audits.length) return [];
  return section("audit", "Second grader", "Completions that another grader judges differently; equal answers to one problem count as one row.",
    D.audits.map((audit) => auditCard(audit)));
}
function auditCard(audit) {
  const differ = audit.more + audit.less;
  const run = D.runs.length > 1 ? `${D.runs[audit.run].name}, ` : "";
  return el("div", { class: "card" }, el("h3", {}, `${run}${audit.of}: `, el("code", {}, audit.grader)),
    audit.current ? null : missing("The rewards have changed since. They are compared again by:", audit.again),
    el("p", {}, `It disagrees on ${count(differ)} of ${many(audit.compared, "completion")} (${percent(differ / Math.max(audit.compared, 1))}): it gives more to ${count(audit.more)} and less to ${count(audit.less)}.`),
    differ ? table(["reference", "answer", "times", "reward", "second grader", "first"], audit.rows.map(([times, gold, answer, one, other, first]) =>
      [quoted(gold), quoted(answer), count(times), judged(one), judged(other), el("code", {}, first)]), { class: "leftall", label: `Disagreements with ${audit.grader}` }) : null,
    audit.kinds > audit.rows.length ? el("p", { class: "mut" }, `${count(audit.kinds - audit.rows.length)} more rows are not shown.`) : null);
}
const judged = ([reward, status]) => `${reward === null ? "–" : short(reward)} ${STATUS[status] || status}`;
