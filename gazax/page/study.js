"use strict";
const { study, cases } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const NAME = `gazax-study-${study}`;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

// answers.ratings: heat map -> 1 to 5; answers.trusted: image -> heat map
let answers = { rater: "", place: 0, ratings: {}, trusted: {} };
let keeps = true;
try {
  const kept = localStorage.getItem(NAME);
  if (kept) answers = { ...answers, ...JSON.parse(kept) };
} catch {
  keeps = false;
}
let hidden = false;
let marked = 0;

function keep() {
  try {
    localStorage.setItem(NAME, JSON.stringify(answers));
  } catch {
    keeps = false;
  }
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function layered(current, ...layers) {
  const element = make("div", { className: "stack" }, ...layers);
  lie(element, current);
  return element;
}

function lie(element, current) {
  element.style.setProperty("--image", `url(${current.picture})`);
  element.style.aspectRatio = current.ratio;
}

function card(overlay, number, current) {
  const letter = LETTERS[number] ?? `no. ${number + 1}`;
  const image = make("img", { src: overlay.picture, alt: `Heat map ${letter} over the radiograph` });
  const stack = layered(current, image);
  const rating = make("div", { className: "rating", role: "group" });
  rating.setAttribute("aria-label", `Heat map ${letter} marks what I would look at`);
  for (let value = 1; value <= 5; value++) {
    const button = make("button", { type: "button", textContent: value });
    button.setAttribute("aria-label", `${letter}: ${value} of 5`);
    button.addEventListener("click", () => rate(number, value));
    rating.append(button);
  }
  const trust = make("button", { type: "button", className: "trust", textContent: "I trust this most" });
  trust.setAttribute("aria-label", `I trust heat map ${letter} most`);
  trust.addEventListener("click", () => trustMost(number));
  const title = make("h3", {}, `Heat map ${letter}`, make("span", {}));
  const article = make("article", { className: "overlay", tabIndex: 0 }, title, stack, rating, trust);
  article.setAttribute("aria-label", `Heat map ${letter}`);
  article.addEventListener("focusin", () => { marked = number; });
  return article;
}

function show(place, focus = null) {
  answers.place = Math.min(Math.max(place, 0), cases.length - 1);
  keep();
  const current = cases[answers.place];
  at("place").textContent = `Image ${answers.place + 1} of ${cases.length}`;
  lie(at("plain"), current);
  at("previous").disabled = answers.place === 0;
  at("next").disabled = answers.place === cases.length - 1;
  at("overlays").replaceChildren(
    ...current.overlays.map((overlay, number) => card(overlay, number, current)),
  );
  marked = 0;
  refresh();
  if (focus !== null) mark(focus < 0 ? current.overlays.length + focus : focus);
}

function refresh() {
  const current = cases[answers.place];
  current.overlays.forEach((overlay, number) => {
    const article = at("overlays").children[number];
    const given = answers.ratings[overlay.token];
    article.querySelector("h3 span").textContent = given ? `rated ${given}` : "not rated";
    article.querySelectorAll(".rating button").forEach((button, i) => {
      button.setAttribute("aria-pressed", String(given === i + 1));
    });
    const trusted = answers.trusted[current.token] === overlay.token;
    article.querySelector(".trust").setAttribute("aria-pressed", String(trusted));
  });
  const { given, wanted } = count();
  at("progress").max = wanted;
  at("progress").value = given;
  say("");
}

function count() {
  const overlays = cases.flatMap((one) => one.overlays);
  const rated = overlays.filter((overlay) => answers.ratings[overlay.token]).length;
  const trusted = cases.filter((one) => answers.trusted[one.token]).length;
  return { given: rated + trusted, wanted: overlays.length + cases.length, rated, trusted, all: overlays.length };
}

function say(text) {
  const { rated, all, trusted } = count();
  const lost = keeps ? "" : " This browser keeps nothing: save before you close the page.";
  at("status").textContent =
    `${rated} of ${all} heat maps rated, ${trusted} of ${cases.length} choices made.${lost} ${text}`.trim();
}

function rate(number, value) {
  answers.ratings[cases[answers.place].overlays[number].token] = value;
  keep();
  refresh();
}

function trustMost(number) {
  const current = cases[answers.place];
  answers.trusted[current.token] = current.overlays[number].token;
  keep();
  refresh();
}

function mark(number) {
  const count = cases[answers.place].overlays.length;
  if (number >= count) {
    if (answers.place < cases.length - 1) show(answers.place + 1, 0);
  } else if (number < 0) {
    if (answers.place > 0) show(answers.place - 1, -1);
  } else {
    at("overlays").children[number].focus();
  }
}

function toggle() {
  hidden = !hidden;
  at("hide").setAttribute("aria-pressed", String(hidden));
  at("overlays").classList.toggle("hidden", hidden);
}

function quoted(text) {
  return `"${String(text).replaceAll('"', '""')}"`;
}

function csv() {
  const lines = ["rater,case,overlay,rating,trusted,order"];
  for (const one of cases) {
    const chosen = answers.trusted[one.token];
    one.overlays.forEach((overlay, number) => {
      const rating = answers.ratings[overlay.token] ?? "";
      const trusted = chosen ? Number(chosen === overlay.token) : "";
      lines.push([quoted(answers.rater), one.token, overlay.token, rating, trusted, number + 1].join(","));
    });
  }
  return lines.join("\n") + "\n";
}

function save() {
  if (!answers.rater) {
    at("rater").focus();
    say("Give your name or code first.");
    return;
  }
  const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  const file = `ratings-${answers.rater.replace(/[^A-Za-z0-9_-]+/g, "_")}.csv`;
  make("a", { href: address, download: file }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
  const { given, wanted } = count();
  say(`Saved as ${file}${given < wanted ? ", unfinished: what is missing stays empty" : ""}.`);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.id === "rater") return;
  const actions = {
    ArrowLeft: () => mark(inside() ? marked - 1 : 0),
    ArrowRight: () => mark(inside() ? marked + 1 : 0),
    ArrowUp: () => show(answers.place - 1, 0),
    ArrowDown: () => show(answers.place + 1, 0),
    t: () => trustMost(marked),
    h: toggle,
  };
  const inside = () => at("overlays").contains(document.activeElement);
  const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (/^[1-5]$/.test(pressed) || (pressed === "t" && !inside())) {
    if (!inside()) mark(marked);
  }
  if (/^[1-5]$/.test(pressed)) rate(marked, Number(pressed));
  else if (actions[pressed]) actions[pressed]();
  else return;
  event.preventDefault();
});
at("previous").addEventListener("click", () => show(answers.place - 1));
at("next").addEventListener("click", () => show(answers.place + 1));
at("hide").addEventListener("click", toggle);
at("save").addEventListener("click", save);
at("rater").value = answers.rater;
at("rater").addEventListener("input", () => {
  answers.rater = at("rater").value.trim();
  keep();
});
show(answers.place);
