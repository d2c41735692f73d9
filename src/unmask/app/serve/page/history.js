// Earlier scans: a list with faces, filtered by answer and name; several can be deleted at once.

import { $, ago, failed, icon, moment, node, say } from "./dom.js";
import { api, blob, json } from "./service.js";

const [query, chosen] = [{ verdict: "", name: "" }, new Set()];
let cursor = null;
let pictures = []; // object URLs of the list

export async function history(further = false) {
  try {
    const asked = new URLSearchParams({ limit: 20 });
    for (const [key, value] of Object.entries(query)) if (value) asked.set(key, value);
    if (further && cursor) asked.set("cursor", cursor);
    const page = await json(`/v1/scans?${asked}`);
    if (!further) {
      pictures.splice(0).forEach((url) => URL.revokeObjectURL(url));
      chosen.clear();
    }
    const rows = page.items.map(row);
    if (further) $("list").append(...rows);
    else $("list").replaceChildren(...rows);
    cursor = page.cursor;
    $("more").hidden = !cursor;
    const filtered = Boolean(query.verdict || query.name);
    $("none").hidden = !filtered || Boolean($("list").children.length);
    $("past").hidden = !filtered && !$("list").children.length;
    marked();
  } catch (error) { if (error.status !== 401) failed(error); }
}

function row(item) {
  const tick = node("input", { type: "checkbox", "aria-label": `Choose ${item.name}`, onchange: () => {
    if (tick.checked) chosen.add(item.id); else chosen.delete(item.id);
    marked();
  } });
  const face = node("span", { class: "face-small" });
  if (item.picture) faced(face, item.picture);
  const answer = item.answer ? [icon(item.verdict), item.answer] : [{ queued: "Waiting", running: "Looking at it" }[item.state] || item.state];
  return node("li", {}, tick, face, node("a", { href: `#${item.id}` }, node("bdi", {}, item.name)),
    node("span", { class: "told" }, ...answer), node("span", { class: "percent" }, item.number),
    node("time", { class: "when", datetime: item.created, title: moment(item.created) }, ago(item.created)));
}

async function faced(place, path) {
  try {
    const url = await blob(path, false);
    pictures.push(url);
    place.append(node("img", { src: url, alt: "" }));
  } catch { /* deleted in between */ }
}

function marked() {
  $("delete-chosen").hidden = !chosen.size;
  $("delete-chosen").textContent = `Delete ${chosen.size} chosen`;
  const ticks = [...$("list").querySelectorAll("input")];
  $("choose-all").checked = ticks.length > 0 && ticks.every((tick) => tick.checked);
}

$("choose-all").addEventListener("change", () => {
  const all = $("choose-all").checked; // which each click changes
  for (const tick of $("list").querySelectorAll("input")) if (tick.checked !== all) tick.click();
});
$("delete-chosen").addEventListener("click", async () => {
  if (!confirm(`Delete ${chosen.size} scans, their files and their reports from the service?`)) return;
  let done = 0;
  try {
    for (const id of [...chosen]) { await api(`/v1/scans/${id}`, { method: "DELETE" }); done += 1; }
    say(`${done} deleted.`);
  } catch (error) { failed(error); }
  if (chosen.has(location.hash.slice(1))) location.hash = "";
  history();
});
$("filter").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  query.verdict = button.dataset.verdict;
  for (const one of $("filter").children) one.setAttribute("aria-pressed", one === button);
  history();
});
let typed = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => { query.name = $("search").value.trim(); history(); }, 300);
});
$("more").addEventListener("click", () => history(true));
