/* The data, and how elements are made. Text from models, data sets and runs goes through text nodes alone. */
const D = JSON.parse(document.getElementById("data").textContent);

/* An element: el("p", {class: "note", title: "..."}, "text", child, null, [more]). Functions in `on` are listeners. */
function el(tag, props, ...children) { return fill(document.createElement(tag), props, children); }
function svg(tag, props, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}
function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  add(node, children);
  return node;
}
function add(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(node, child);
    else if (child instanceof Node) node.append(child);
    else if (child !== null && child !== undefined && child !== false) node.append(visible(String(child)));
  }
}
function replace(node, ...children) { node.replaceChildren(); add(node, children); return node; }

/* Characters that a reader cannot see, or that turn the text around them, as escapes. */
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb]/g;
function visible(text) {
  return text.replace(HIDDEN, (c) => (c < "\u0100" ? `\\x${hex(c, 2)}` : `\\u${hex(c, 4)}`));
}
const hex = (character, digits) => character.charCodeAt(0).toString(16).padStart(digits, "0");

/* A text that may have been cut: [beginning, characters left out, end]. */
function pieces(cut) {
  if (cut === null || cut === undefined) return [el("i", { class: "mut" }, "none")];
  if (typeof cut === "string") return [cut === "" ? el("i", { class: "mut" }, "empty") : cut];
  return [cut[0], el("i", { class: "omitted" }, ` … ${count(cut[1])} characters left out … `), cut[2]];
}
const plain = (cut) => (typeof cut === "string" ? cut : cut ? `${cut[0]}…` : "");
function quoted(cut, kind) {
  return el("span", { class: `quoted ${kind || ""}`, dir: "auto" }, pieces(cut));
}
/* A long text scrolls in its own box, which the keyboard can reach. */
function block(cut) {
  const long = typeof cut !== "string" || cut.length > 400 || cut.split("\n").length > 8;
  return el("div", { class: long ? "quoted block" : "quoted", dir: "auto", tabindex: long ? 0 : null }, pieces(cut));
}

const count = (number) => number.toLocaleString("en");
const many = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
/* A number for people: three digits after the point; of what is smaller, two digits that say something. */
function short(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 10 ** -digits) return String(Number(value.toPrecision(2))).replace("-", "−");
  if (size >= 1e5 || size < 1e-4) return value.toExponential(1).replace("e+", "e").replace(/-/g, "−");
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? Math.min(digits, 2) : digits).replace("-", "−");
}
/* A value that was chosen or is fixed, with no more digits than it has. */
const exact = (value) => (value !== 0 && Math.abs(value) < 1e-4 ? short(value) : String(Number(value.toPrecision(6))).replace("-", "−"));
/* A difference has its sign always, and so have the ends of its interval. */
const signed = (value, digits = 3) => (value > 0 ? "+" : "") + short(value, digits);
const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)}%`;
function chance(p) { return p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(p < 0.1 ? 3 : 2); }
function seconds(value) {
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(value / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(value % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/* Each series has a colour, a dash, a marker and its name: none of them stands alone. */
const MARKERS = ["circle", "square", "diamond", "triangle", "cross"];
const DASHES = [null, "10 3", "2 3", "10 3 2 3", "16 4", "5 2"];
function seriesOf(arm) {
  const own = D.arms[arm], trained = D.arms.slice(0, arm).filter((other) => !other.base).length;
  if (own.base) return { label: own.label, colour: "c0", dash: "5 4", marker: "circle" };
  return { label: own.label, colour: `c${1 + (trained % 6)}`, dash: DASHES[(trained + Math.floor(trained / 6)) % 6], marker: MARKERS[(1 + trained) % 5] };
}
function name(arm) { return el("b", { class: seriesOf(arm).colour + " name" }, D.arms[arm].label); }

function section(id, title, about, ...children) {
  const head = el("h2", {}, title);
  return el("section", { id, tabindex: -1, "aria-label": title }, head, about ? el("p", { class: "mut" }, about) : null, children);
}
function note(text) { return el("p", { class: "note" }, text); }
/* What is missing, in one line, with the command that makes it. */
function missing(text, command) {
  const file = command && / FILE\b/.test(command) ? " FILE stands for problems that were not trained on." : null;
  return el("p", { class: "note missing" }, text, command ? [" ", el("code", {}, command), file] : null);
}
function notes(list) { return list.map(note); }

/* A table from headings and rows; cells are text or elements. The first column is text, the others are numbers. */
function table(headings, rows, props) {
  const cell = (tag, value) => el(tag, tag === "th" ? { scope: "col" } : {}, value);
  const body = rows.map((row) => el("tr", {}, row.map((value) => cell("td", value))));
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": (props && props.label) || "table" },
    el("table", { class: (props && props.class) || "" },
      el("thead", {}, el("tr", {}, headings.map((value) => cell("th", value)))), el("tbody", {}, body)));
}
function numbers(headings, rows, label = "Numbers") {
  return el("details", { class: "numbers" }, el("summary", {}, label), table(headings, rows, { label }));
}
function choice(label, options, selected, change) {
  const list = el("select", { on: { change: (event) => change(event.target.value) } },
    options.map(([value, text]) => el("option", { value, selected: String(value) === String(selected) }, text)));
  return el("label", { class: "choice" }, el("span", {}, label), list);
}
function toggles(options, selected, change) {
  const buttons = options.map(([value, text]) => el("button", {
    type: "button", class: "chip", "data-value": value, "aria-pressed": value === selected ? "true" : "false",
    on: { click: () => { press(value); change(value); } },
  }, text));
  const press = (value) => buttons.forEach((b) => b.setAttribute("aria-pressed", b.dataset.value === value ? "true" : "false"));
  return el("div", { class: "chips", role: "group" }, buttons);
}

const STATUS = {
  ok: "right", "scored 1": "right", wrong: "wrong answer", no_box: "no boxed answer", truncated: "cut at the token limit",
  unparsable: "answer not readable", too_long: "answer too long", think_unclosed: "thought never ended",
  timeout: "verifier timed out", error: "verifier failed", scored: "graded", skipped: "no reward",
};
/* A completion can be cut at the token limit whatever the verdict on it; where the verdict says so, once is enough. */
const wasCut = (status, cut) => (cut && D.statuses[status] !== "truncated" ? el("span", { class: "mut" }, ` ${STATUS.truncated}`) : null);
const isRight = (status) => status === "ok" || status === "scored 1";
function verdict(status, graded) {
  const right = isRight(status), neutral = graded || status === "scored" || status === "skipped";
  return el("span", { class: neutral ? "mut" : right ? "ok" : "bad" }, neutral ? "" : right ? "✓ " : "✗ ", STATUS[status] || status);
}
