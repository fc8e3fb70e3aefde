/* Puts the page together, and listens to the keyboard and the address. */
const TITLES = [["verdict", "Verdict"], ["passk", "pass@k"], ["changed", "What changed"], ["problems", "Problems"], ["groups", "A group"],
  ["tokens", "Tokens"], ["curves", "Curves"], ["visits", "Prompts"], ...(D.audits.length ? [["audit", "Second grader"]] : []), ["about", "The runs"]];
function start() {
  replace(document.getElementById("top"), el("h1", { class: "title" }, el("b", {}, "rsgrpo report"), " ", D.title),
    el("nav", { "aria-label": "Sections" }, TITLES.map(([id, text]) => el("a", { href: `#${id}` }, text))));
  replace(document.getElementById("page"), [verdictSection, passkSection, changedSection, problemsSection, groupsSection, curvesSection, visitsSection, auditSection, aboutSection]
    .flatMap((make) => make()));
  replace(document.getElementById("foot"), el("p", { class: "mut" }, "Keys: j and k go through the problems, / searches them. The page needs no network and sends nothing."));
  document.addEventListener("keydown", key);
  window.addEventListener("hashchange", follow);
  follow();
  document.body.dataset.ready = "yes";
}
function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !D.problems) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range";
  if (event.key === "Escape" && event.target.id === "search") event.target.blur();
  if (typing) return;
  if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "/") { document.getElementById("search").focus(); document.getElementById("search").scrollIntoView({ block: "center" }); event.preventDefault(); }
}
/* "#problem=ID" opens a problem; everything else is a section, which the browser finds by itself. */
function follow() {
  const found = /^#problem=(.*)$/.exec(location.hash);
  if (!found || !D.problems) return;
  let id = found[1];
  try { id = decodeURIComponent(id); } catch { return; }
  const row = byId.get(id);
  if (!row) return;
  browser.select(row, true);
  document.getElementById("problem").scrollIntoView({ block: "start" });
}
start();
