// Small parts of the page. Nothing from outside becomes HTML: every text goes in as text.

export const $ = (id) => document.getElementById(id);

function filled(made, about, children) {
  for (const [key, value] of Object.entries(about)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export const node = (name, about = {}, ...children) => filled(document.createElement(name), about, children);

const SVG = "http://www.w3.org/2000/svg";
export const drawn = (name, about = {}, ...children) => filled(document.createElementNS(SVG, name), about, children);

// The shapes stand in the page once, the same as in reports; a state is told apart without its colour.
export const icon = (state) =>
  drawn("svg", { class: `icon ${state}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, drawn("use", { href: `#icon-${state}` }));

export const list = (items) => node("ul", {}, ...items.map((item) => node("li", {}, sentence(item))));

export function sentence(text) {
  return text[0].toUpperCase() + text.slice(1) + (/[.!?…)]$/.test(text) ? "" : ".");
}

// `heard`: the page shows it in another place already; only screen readers need it.
export function say(text, heard = false) {
  $("said").textContent = text;
  $("said").classList.toggle("heard", heard);
}

export const failed = (error) => say(`This did not work: ${error.message}.`);

const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
export const moment = (text) => DAY.format(new Date(text));

// "5 minutes ago", and the date for what is older than a week.
export function ago(text) {
  const seconds = (Date.now() - new Date(text)) / 1000;
  const said = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, long, most] of [["second", 1, 60], ["minute", 60, 3600], ["hour", 3600, 86400], ["day", 86400, 7 * 86400]]) {
    if (seconds < most) return said.format(-Math.max(0, Math.floor(seconds / long)), unit);
  }
  return moment(text);
}
