// One scan: the verdict, the file, its faces, and what can be done with it.

import { $, drawn, failed, icon, list, moment, node, say, sentence } from "./dom.js";
import { faces } from "./faces.js";
import { api, blob, follow, json, release } from "./service.js";
import { player } from "./stage.js";

let shown = null; // id of the scan on the page

// Shows a scan, or with no id none. `changed` is called when one that was waited for has ended.
export async function open(id, changed) {
  if (id) say("");
  shown = id;
  release();
  $("result").hidden = true;
  document.body.classList.toggle("reading", Boolean(id));
  if (!id) { $("busy").hidden = true; document.title = "unmask"; return changed(); }
  try {
    let scan = await json(`/v1/scans/${id}`);
    if (scan.state === "queued" || scan.state === "running") {
      await follow(id, (told) => busy(told, id), () => shown === id);
      scan = await json(`/v1/scans/${id}`);
    }
    if (shown !== id) return;
    if (!scan.report) throw new Error("it has not ended; reload the page");
    $("busy").hidden = true;
    await show(scan, changed);
    say(`Done: ${scan.words.verdict}`, true);
    changed();
  } catch (error) { $("busy").hidden = true; failed(error); }
}

function busy({ state, progress }, id) {
  if (state !== "queued" && state !== "running") return;
  const text = state === "queued" ? "Waiting for a free place" : "Looking at it";
  $("busy").hidden = false;
  $("busy-text").textContent = progress ? `${text}: ${Math.round(100 * progress)} %` : `${text} …`;
  if (progress) $("bar").value = progress;
  else $("bar").removeAttribute("value");
  $("cancel").onclick = () => remove(id);
  if ($("said").textContent !== text) say(text, true);
}

async function remove(id) {
  try {
    await api(`/v1/scans/${id}`, { method: "DELETE" });
    location.hash = "";
    say("Deleted.");
  } catch (error) { failed(error); }
}

async function show(scan) {
  const { words, report } = scan;
  const file = report.files[0];
  const picture = new Map(scan.pictures.map((one) => [one.track, one]));
  const stage = scan.media ? await player(scan, file) : null;
  const parts = [node("div", { class: stage ? "answer with-stage" : "answer" }, verdict(scan, words, file, report), stage?.node)];
  parts.push(tools(scan));
  if (file.faces.length) parts.push(await faces(words, file, report, picture, stage));
  if (words.whole && picture.get(0)?.face) parts.push(await whole(words, picture.get(0)));
  parts.push(section("About the file", pairs(words.facts)));
  if (words.provenance.length) {
    parts.push(section("What the file says about itself", node("p", {}, words.provenance_note), pairs(words.provenance)));
  }
  parts.push(section("What this detector knows, and what it does not", node("div", { class: "two" },
    node("div", {}, node("h3", {}, "It was trained on"), list(words.trained_on)),
    node("div", {}, node("h3", {}, "It is known to fail on"), list(words.limits)))));
  if (report.whole && file.face_state) {
    parts.push(section("What the detector of whole pictures knows, and what it does not", node("div", { class: "two" },
      node("div", {}, node("h3", {}, "It was trained on"), list(report.whole.trained_on)),
      node("div", {}, node("h3", {}, "It is known to fail on"), list(report.whole.limits)))));
  }
  parts.push(node("p", { class: "fine" }, `unmask ${report.version}, detector ${report.detector.name}, ${moment(report.created)}`));
  $("result").replaceChildren(...parts);
  $("result").hidden = false;
  document.title = `${words.short}: ${scan.name} – unmask`;
  $("result").focus();
  scrollTo(0, 0);
}

const section = (title, ...parts) => node("section", {}, node("h2", {}, title), ...parts);

const pairs = (rows) => node("dl", {}, ...rows.map(([key, value]) =>
  node("div", {}, node("dt", {}, key), node("dd", {}, node("bdi", {}, value)))));

// The file's state, then each question with its answer.
function verdict(scan, words, file, report) {
  const faces = file.face_state ? [...(words.whole ? [question(words.question, file.face_state, words.face_verdict)] : []), ...answer(words, file, report.unsure, words.whole ? "h3" : "h2")] : [];
  const whole = words.whole ? [question(words.whole.question, file.whole.state, words.whole.verdict), ...answer(words.whole, file.whole, report.whole.unsure, "h3")] : [];
  return node("section", { class: `verdict ${file.state}` },
    node("h1", {}, icon(file.state), words.verdict), node("p", { class: "name" }, node("bdi", {}, scan.name)),
    ...words.confessions.map((text) => node("p", { class: "confession" }, text)), ...faces, ...whole);
}

const question = (asked, state, said) => node("h2", { class: "question" }, `${asked} `, icon(state), said);

function answer(words, found, unsure, why) {
  const number = words.number
    ? [node("p", { class: "number" }, node("strong", {}, words.number), words.interval ? node("span", {}, `90 % interval: ${words.interval}`) : ""),
       node("figure", {}, scale(found, unsure, words), node("figcaption", {},
         `${sentence(words.event)} Dot: the number; bar: how far it may be off; shaded: the detector cannot tell there.`))]
    : [node("p", {}, "No number is given for this file.")];
  return [...number, node("p", {}, words.meaning), words.reasons.length ? node("div", {}, node(why, { class: "why" }, "Why"), list(words.reasons)) : ""];
}

// The part of the image that the second answer rests on most.
async function whole(words, { face, heat }) {
  const shown = [node("figure", {}, node("img", { src: await blob(face), alt: "The most telling part of the picture" }), node("figcaption", {}, "As the detector saw it."))];
  if (heat) shown.push(node("figure", {}, node("img", { src: await blob(heat), alt: "The parts that the answer rests on" }), node("figcaption", {}, words.heat_note)));
  const measured = words.whole.measured.length ? [node("div", { class: "screen" }, node("h3", {}, words.measured_title), list(words.whole.measured))] : [];
  return section("The picture as a whole", words.whole.map_note ? node("p", { class: "screen" }, words.whole.map_note) : "", node("div", { class: "two" }, ...shown), ...measured);
}

function scale(found, unsure, words) {
  const x = (p) => 14 + 332 * p;
  const svg = drawn("svg", { class: "scale", viewBox: "0 0 360 66", role: "img", "aria-label": `${words.number}, 90 % interval ${words.interval}` });
  if (unsure) svg.append(drawn("rect", { class: "unsure", x: x(unsure[0]), y: 25, width: x(unsure[1]) - x(unsure[0]), height: 22 }));
  svg.append(drawn("line", { class: "axis", x1: x(0), x2: x(1), y1: 36, y2: 36 }));
  for (const [p, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    svg.append(drawn("text", { x: x(p), y: 60, "text-anchor": anchor }, `${100 * p} %`));
  }
  if (found.low !== null) svg.append(drawn("path", { class: "bar", d: `M${x(found.low)} 29v14M${x(found.low)} 36H${x(found.high)}M${x(found.high)} 29v14` }));
  svg.append(drawn("circle", { class: "dot", cx: x(found.score), cy: 36, r: 6 }));
  svg.append(drawn("text", { class: "value", x: Math.min(Math.max(x(found.score), 38), 322), y: 18, "text-anchor": "middle" }, words.number));
  return svg;
}

function tools(scan) {
  const name = scan.name.replace(/\.[^.]*$/, "") || "file";
  const save = (what) => async () => {
    try { node("a", { href: await blob(`/v1/scans/${scan.id}/${what}`), download: `${name} ${what}` }).click(); } catch (error) { failed(error); }
  };
  const forget = () => confirm("Delete this scan, its file and its report from the service?") && remove(scan.id);
  return node("div", { class: "tools" },
    node("button", { type: "button", onclick: save("report.html") }, "Download the report"),
    node("button", { type: "button", onclick: save("report.json") }, "Download JSON"),
    node("button", { type: "button", onclick: () => print() }, "Print"),
    node("button", { type: "button", id: "delete", onclick: forget }, "Delete"));
}
