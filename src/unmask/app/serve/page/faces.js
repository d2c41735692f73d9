// The faces of a scan, one at a time, each with its picture and its course over time.

import { drawn, icon, list, node, sentence } from "./dom.js";
import { blob } from "./service.js";
import { at } from "./stage.js";

export async function faces(words, file, report, pictures, stage) {
  const chips = node("div", { class: "chips", role: "group", "aria-label": "Faces" });
  const place = node("div");
  const choose = async (number) => {
    const face = file.faces[number];
    [...chips.children].forEach((chip, index) => chip.setAttribute("aria-pressed", index === number));
    if (stage) { stage.chosen = face.track; stage.draw(); }
    place.replaceChildren(await card(words.faces[number], face, file, report, pictures.get(face.track), words, stage));
  };
  for (const [number, told] of words.faces.entries()) {
    const chip = node("button", { type: "button", class: file.faces[number].state, onclick: () => choose(number) });
    const about = pictures.get(told.track);
    if (about?.face) chip.append(node("img", { src: await blob(about.face), alt: "" }));
    chip.append(node("span", {}, icon(file.faces[number].state), `${told.name}: ${told.verdict}`));
    chips.append(chip);
  }
  await choose(words.deciding);
  return node("section", {}, node("h2", {}, "Face by face"), words.map_note ? node("p", { class: "screen" }, words.map_note) : "", chips, place);
}

async function card(told, face, file, report, pictures, words, stage) {
  const right = node("div", {}, node("h3", {}, `${told.name}: ${told.verdict}`));
  right.append(node("p", {}, told.number ? `Chance of forgery: ${told.number}${told.interval ? ` (90 % interval: ${told.interval})` : ""}` : "No number is given."));
  if (new Set(face.samples.map((sample) => sample.t)).size > 1) right.append(timeline(told, face, file, report.unsure, stage));
  if (told.reasons.length) right.append(node("h3", {}, "Why"), list(told.reasons));
  // The page prints to one sheet; the report that one downloads prints all of it.
  if (told.measured.length) right.append(node("div", { class: "screen" }, node("h3", {}, words.measured_title), list(told.measured)));
  return node("article", { class: `face ${face.state}` }, await picture(told, pictures, words.heat_note), right);
}

async function picture(told, pictures, heatNote) {
  const left = node("div", { class: "picture" });
  if (!pictures?.face) {
    left.append(node("p", { class: "fine" }, "Picture not kept."));
    return left;
  }
  const [plain, warm] = [await blob(pictures.face), pictures.heat ? await blob(pictures.heat) : null];
  const image = node("img", { src: plain, alt: `${told.name}, as the detector saw it` });
  const note = node("p", { class: "fine" }, "As the detector saw it.");
  left.append(image);
  if (warm) {
    const toggle = node("button", { type: "button", "aria-pressed": "false", class: "screen", onclick: () => {
      const on = toggle.getAttribute("aria-pressed") !== "true";
      toggle.setAttribute("aria-pressed", on);
      image.src = on ? warm : plain;
      image.alt = on ? `${told.name} with the parts marked that the answer rests on` : `${told.name}, as the detector saw it`;
      note.textContent = on ? heatNote : "As the detector saw it.";
    } }, "Heat map");
    left.append(toggle);
  }
  left.append(note);
  return left;
}

function timeline(told, face, file, unsure, stage) {
  const last = Math.max(file.media?.seconds || 0, face.samples.at(-1).t, 0.001);
  const [x, y] = [(t) => 40 + 308 * (t / last), (p) => 110 - 98 * p];
  const svg = drawn("svg", { class: "timeline", viewBox: "0 0 360 140" });
  if (unsure) svg.append(drawn("rect", { class: "unsure", x: 40, width: 308, y: y(unsure[1]), height: y(unsure[0]) - y(unsure[1]) }));
  for (const p of [0, 0.5, 1]) {
    svg.append(drawn("line", { class: "grid", x1: 40, x2: 348, y1: y(p), y2: y(p) }), drawn("text", { x: 35, y: y(p) + 4, "text-anchor": "end" }, `${100 * p} %`));
  }
  for (const part of [0, 0.5, 1]) svg.append(drawn("text", { x: x(part * last), y: 128, "text-anchor": "middle" }, `${(part * last).toFixed(1)} s`));
  svg.append(drawn("polyline", { class: "line", points: face.samples.map((s) => `${x(s.t)},${y(s.score)}`).join(" ") }));
  for (const s of face.samples) svg.append(drawn("circle", { class: s.score >= 0.5 ? "dot" : "dot hollow", cx: x(s.t), cy: y(s.score), r: 3 }));
  const about = node("figcaption", {}, `One dot a frame, each judged alone; filled: 50 % or above. ${sentence(told.summary)}`);
  if (!stage?.clip) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${told.name} over time: ${told.summary}`);
    return node("figure", {}, svg, about);
  }
  steering(svg, told, face, file, stage, last, x);
  return node("figure", {}, svg, about, node("p", { class: "fine screen" }, "Click, or use the arrow keys, to go to that moment of the video."));
}

// The timeline as a slider that moves the video.
function steering(svg, told, face, file, stage, last, x) {
  const now = drawn("line", { class: "now", y1: 8, y2: 114, x1: x(0), x2: x(0) });
  svg.append(now);
  for (const [key, value] of Object.entries({ role: "slider", tabindex: 0, "aria-label": `${told.name}: chance of forgery over time; moves the video`, "aria-valuemin": 0, "aria-valuemax": last.toFixed(2) })) svg.setAttribute(key, value);
  const moved = () => {
    const t = stage.medium.currentTime;
    const seen = at(face.samples, t, file.media);
    now.setAttribute("x1", x(Math.min(t, last)));
    now.setAttribute("x2", x(Math.min(t, last)));
    svg.setAttribute("aria-valuenow", t.toFixed(2));
    svg.setAttribute("aria-valuetext", `${t.toFixed(1)} seconds${seen ? `, ${Math.round(100 * seen.score)} % in the nearest frame` : ", not seen"}`);
  };
  const seek = (t) => { stage.medium.currentTime = Math.min(Math.max(t, 0), last); };
  svg.addEventListener("pointerdown", (event) => {
    const box = svg.getBoundingClientRect();
    seek(((((event.clientX - box.left) / box.width) * 360 - 40) / 308) * last);
  });
  svg.addEventListener("keydown", (event) => {
    const t = stage.medium.currentTime;
    const to = { ArrowRight: t + last / 30, ArrowUp: t + last / 30, ArrowLeft: t - last / 30, ArrowDown: t - last / 30, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    seek(to);
  });
  for (const event of ["timeupdate", "seeked", "loadeddata"]) stage.medium.addEventListener(event, moved);
  moved();
}
