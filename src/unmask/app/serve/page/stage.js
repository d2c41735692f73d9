// The file with boxes around its faces, where and when they were seen.

import { $, node } from "./dom.js";
import { blob } from "./service.js";

const FAR = 1; // seconds from the frame that was looked at: later than that a box would be a guess

export async function player(scan, file) {
  if (!file.media) return null;
  const clip = file.media.kind === "video";
  let url;
  try { url = await blob(scan.media); } catch { return null; }
  const medium = clip ? node("video", { controls: "", playsinline: "", preload: "auto", "aria-label": "The video" }) : node("img", { alt: "The picture" });
  const canvas = node("canvas", { "aria-hidden": "true" });
  const boxes = node("input", { type: "checkbox", id: "boxes", checked: "" });
  const note = node("p", { class: "fine" });
  const stage = { medium, clip, chosen: null, node: node("div", { class: "side" }, node("div", { class: "stage" }, medium, canvas),
    file.faces.length ? node("p", { class: "screen" }, boxes, node("label", { for: "boxes" }, " Boxes around the faces")) : "", note) };
  stage.draw = (printed = false) => drawBoxes(canvas, stage, file, boxes.checked, printed);
  boxes.addEventListener("change", () => stage.draw());
  for (const event of ["load", "loadeddata", "timeupdate", "seeked"]) medium.addEventListener(event, () => stage.draw());
  if (clip && medium.requestVideoFrameCallback) { // with each frame, where the browser tells
    const again = () => { stage.draw(); if (medium.isConnected) medium.requestVideoFrameCallback(again); };
    medium.requestVideoFrameCallback(again);
  }
  new ResizeObserver(() => stage.draw()).observe(medium);
  window.onbeforeprint = () => stage.draw(true);
  window.onafterprint = () => stage.draw();
  medium.addEventListener("error", () => {
    note.textContent = "This browser cannot show the file; the answer does not depend on it.";
    stage.node.firstChild.hidden = true;
  });
  medium.src = url;
  return stage;
}

// In pixels of the screen, so that lines and numbers are as wide on a small clip as on a large one.
function drawBoxes(canvas, stage, file, wanted, printed) {
  const [width, height] = printed ? [file.media.width, file.media.height] : [stage.medium.clientWidth, stage.medium.clientHeight];
  const sharp = printed ? 1 : devicePixelRatio || 1;
  [canvas.width, canvas.height] = [width * sharp, height * sharp];
  const pen = canvas.getContext("2d");
  pen.scale(sharp, sharp);
  if (stage.clip && printed) pen.drawImage(stage.medium, 0, 0, width, height); // browsers print no videos
  if (!wanted) return;
  const by = width / file.media.width;
  const unit = printed ? Math.max(1, width / 480) : 1;
  file.faces.forEach((face, number) => {
    const seen = stage.clip ? at(face.samples, stage.medium.currentTime, file.media) : face.samples[0];
    if (seen) drawBox(pen, seen.box.map((v) => v * by), `${number + 1}`, face.state, unit * (stage.chosen === face.track ? 2 : 1), unit, { width, height });
  });
}

function drawBox(pen, [x0, y0, x1, y1], text, state, line, unit, { width, height }) {
  const style = getComputedStyle(document.documentElement);
  const [paper, colour] = [style.getPropertyValue("--paper"), style.getPropertyValue(`--${state}`)];
  for (const [stroke, wide] of [[paper, 2 * line + 2 * unit], [colour, 2 * line]]) { // an edge, so that it shows on any picture
    pen.strokeStyle = stroke;
    pen.lineWidth = wide;
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  pen.font = `bold ${13 * unit}px sans-serif`;
  const [w, h] = [pen.measureText(text).width + 8 * unit, 18 * unit];
  // The number never covers the face: above its box, or below it, or beside it.
  const places = [[x0, y0 - h - line], [x0, y1 + line], [x1 + line, y0], [x0 - w - line, y0]];
  const [x, y] = places.find(([a, b]) => a >= 0 && b >= 0 && a + w <= width && b + h <= height) || [Math.max(0, x0), Math.max(0, y0 - h)];
  pen.fillStyle = colour;
  pen.fillRect(x, y, w, h);
  pen.fillStyle = paper;
  pen.fillText(text, x + 4 * unit, y + 13.5 * unit);
}

// Seconds around a frame that was looked at for which it stands: half way to its neighbours, and never long.
export const reach = (media) => Math.min((media.interval || (media.seconds || 0) / Math.max(1, media.frames_read)) / 2, FAR) + 0.5 / (media.fps || 25);

// The face at second t: between two frames that were looked at one after the other, its box is between theirs. Null
// where the nearest such frame does not show it.
export function at(samples, t, media) {
  const gap = reach(media);
  const next = samples.findIndex((sample) => sample.t > t);
  const [a, b] = [samples[next === -1 ? samples.length - 1 : next - 1], next === -1 ? undefined : samples[next]];
  const near = [a, b].filter((sample) => sample && Math.abs(sample.t - t) <= gap).sort((p, q) => Math.abs(p.t - t) - Math.abs(q.t - t))[0];
  if (!near || !a || !b || b.t - a.t > 2 * gap) return near || null;
  const part = (t - a.t) / (b.t - a.t);
  return { ...near, box: a.box.map((v, i) => v + part * (b.box[i] - v)) };
}
