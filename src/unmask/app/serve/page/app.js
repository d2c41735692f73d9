// The page over the API. Nothing from outside becomes HTML: every text goes in as text.

const $ = (id) => document.getElementById(id);
const MARKS = { fake: "▲", real: "○", uncertain: "?", failed: "✕", not_applicable: "–" };
let shown = null; // id of the scan on the page
let urls = []; // object URLs to give back

function node(name, about = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

function drawn(name, about = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(about)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

const list = (items) => node("ul", {}, ...items.map((item) => node("li", {}, item)));

// `heard`: the page shows it in another place already; only screen readers need it.
function say(text, heard = false) {
  $("said").textContent = text;
  $("said").classList.toggle("heard", heard);
}

// --- talking to the service ---------------------------------------------------------------------------------------

async function api(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path.replace(/^\//, ""), { ...options, headers });
  if (answer.ok) return answer;
  if (answer.status === 401) $("access").hidden = false;
  const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
  throw Object.assign(new Error(problem.detail), { status: answer.status });
}

async function blob(path) {
  const url = URL.createObjectURL(await (await api(path)).blob());
  urls.push(url);
  return url;
}

function send(file) {
  if (!file) return;
  const form = new FormData();
  form.append("file", file, file.name || "picture.png");
  const request = new XMLHttpRequest(); // fetch cannot tell how much was sent
  request.open("POST", "v1/scans");
  request.setRequestHeader("Prefer", "respond-async");
  const token = sessionStorage.getItem("token");
  if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
  busy("Sending", 0);
  request.upload.onprogress = (event) => busy("Sending", event.loaded / event.total);
  request.onerror = () => failed(new Error("the service does not answer"));
  request.onload = () => {
    const answer = JSON.parse(request.responseText || "{}");
    if (request.status === 202) location.hash = answer.id;
    else {
      if (request.status === 401) $("access").hidden = false;
      failed(new Error(answer.detail || request.statusText));
    }
  };
  request.send(form);
}

async function follow(id) {
  const answer = await api(`/v1/scans/${id}/events`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done || shown !== id) return reader.cancel();
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").find((row) => row.startsWith("data: "));
      if (!data) continue;
      const told = JSON.parse(data.slice(6));
      if (told.state === "queued") busy("Waiting for a free place", null);
      if (told.state === "running") busy("Looking at it", told.progress || null);
    }
  }
}

function busy(text, progress) {
  $("busy").hidden = false;
  $("result").hidden = true;
  $("busy-text").textContent = progress ? `${text}: ${Math.round(100 * progress)} %` : `${text} …`;
  if (progress === null) $("bar").removeAttribute("value");
  else $("bar").value = progress;
  if ($("said").textContent !== text) say(text, true);
}

function failed(error) {
  $("busy").hidden = true;
  say(`This did not work: ${error.message}.`);
}

// --- one scan -----------------------------------------------------------------------------------------------------

async function open(id) {
  if (id) say("");
  shown = id;
  urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
  $("result").hidden = true;
  if (!id) { $("busy").hidden = true; document.title = "unmask"; return history(); }
  try {
    let scan = await (await api(`/v1/scans/${id}`)).json();
    if (scan.state === "queued" || scan.state === "running") {
      await follow(id);
      scan = await (await api(`/v1/scans/${id}`)).json();
    }
    if (shown !== id) return;
    if (!scan.report) throw new Error("it has not ended; reload the page");
    $("busy").hidden = true;
    await show(scan);
    say(`Done: ${scan.words.verdict}`, true);
    history();
  } catch (error) { failed(error); }
}

async function show(scan) {
  const { words, report } = scan;
  const file = report.files[0];
  const parts = [verdict(scan, words, file, report)];
  const picture = new Map(scan.pictures.map((one) => [one.track, one]));
  const stage = scan.media ? await player(scan, file) : null;
  if (stage) parts.push(node("h2", {}, "The file"), stage.node);
  if (file.faces.length) parts.push(await faces(words, file, report, picture, stage));
  if (words.provenance.length) {
    const rows = words.provenance.map(([key, value]) => node("tr", {}, node("th", { scope: "row" }, key), node("td", {}, value)));
    parts.push(node("h2", {}, "What the file says about itself"), node("p", {}, words.provenance_note), node("table", {}, node("tbody", {}, ...rows)));
  }
  parts.push(node("h2", {}, "What this detector knows, and what it does not"));
  parts.push(node("div", { class: "two" },
    node("div", {}, node("h3", {}, "It was trained on"), list(words.trained_on)),
    node("div", {}, node("h3", {}, "It is known to fail on"), list(words.limits))));
  parts.push(node("p", { class: "fine" }, `unmask ${report.version}, detector ${report.detector.name}, ${new Date(report.created).toLocaleString()}`), tools(scan));
  $("result").replaceChildren(...parts);
  $("result").hidden = false;
  document.title = `${words.short}: ${scan.name} – unmask`;
  $("result").focus();
}

function verdict(scan, words, file, report) {
  const number = words.number
    ? [node("p", { class: "number" }, node("strong", {}, words.number), words.interval ? ` (90 % interval: ${words.interval})` : ""),
       node("figure", {}, scale(file, report.unsure, words), node("figcaption", {},
         `${words.event[0].toUpperCase()}${words.event.slice(1)}. Dot: the number; bar: how far it may be off; shaded: the detector cannot tell there.`))]
    : [node("p", { class: "number" }, "No number is given for this file.")];
  return node("section", { class: `verdict ${file.state}` },
    node("h1", { "data-mark": MARKS[file.state] }, words.verdict), node("p", { class: "name" }, node("bdi", {}, scan.name)),
    ...number, node("p", {}, words.meaning),
    words.reasons.length ? node("div", {}, node("h2", { class: "why" }, "Why"), list(words.reasons)) : "");
}

function scale(found, unsure, words) {
  const x = (p) => 14 + 332 * p;
  const svg = drawn("svg", { viewBox: "0 0 360 66", role: "img", "aria-label": `${words.number}, 90 % interval ${words.interval}` });
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

// --- the file with boxes ------------------------------------------------------------------------------------------

async function player(scan, file) {
  if (!file.media) return null;
  const clip = file.media.kind === "video";
  let url;
  try { url = await blob(scan.media); } catch { return null; }
  const medium = clip ? node("video", { controls: "", playsinline: "", preload: "auto", "aria-label": "The clip" }) : node("img", { alt: "The picture" });
  const canvas = node("canvas", { "aria-hidden": "true" });
  const boxes = node("input", { type: "checkbox", id: "boxes", checked: "" });
  const note = node("p", { class: "fine" });
  const stage = { medium, clip, chosen: null, node: node("div", {}, node("div", { class: "stage" }, medium, canvas),
    file.faces.length ? node("p", { class: "screen" }, boxes, node("label", { for: "boxes" }, " Boxes around the faces")) : "", note) };
  const paper = () => getComputedStyle(document.documentElement).getPropertyValue("--paper");
  const draw = (printed = false) => {
    canvas.width = file.media.width;
    canvas.height = file.media.height;
    const pen = canvas.getContext("2d");
    if (clip && printed) pen.drawImage(medium, 0, 0, canvas.width, canvas.height); // browsers print no videos
    if (!boxes.checked) return;
    const wide = Math.max(2, file.media.width / 250);
    file.faces.forEach((face, number) => {
      const sample = clip ? nearest(face.samples, medium.currentTime, file.media.seconds) : face.samples[0];
      if (!sample) return;
      const [x0, y0, x1, y1] = sample.box;
      const colour = getComputedStyle(document.documentElement).getPropertyValue(`--${face.state}`);
      const line = stage.chosen === face.track ? 2 * wide : wide;
      for (const [style, width] of [[paper(), line + wide], [colour, line]]) { // an edge, so that it shows on any picture
        pen.strokeStyle = style;
        pen.lineWidth = width;
        pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
      }
      pen.font = `bold ${9 * wide}px sans-serif`;
      pen.fillStyle = colour;
      pen.fillRect(x0, y0, pen.measureText(number + 1).width + 6 * wide, 12 * wide);
      pen.fillStyle = paper();
      pen.fillText(`${number + 1}`, x0 + 3 * wide, y0 + 9.5 * wide);
    });
  };
  stage.draw = draw;
  boxes.addEventListener("change", () => draw());
  for (const event of ["load", "loadeddata", "timeupdate", "seeked"]) medium.addEventListener(event, () => draw());
  window.onbeforeprint = () => draw(true);
  window.onafterprint = () => draw();
  medium.addEventListener("error", () => {
    note.textContent = "This browser cannot show the file; the answer does not depend on it.";
    stage.node.firstChild.hidden = true;
  });
  medium.src = url;
  return stage;
}

function nearest(samples, t, seconds) {
  const gap = Math.max(0.5, (2 * (seconds || 0)) / Math.max(1, samples.length));
  const best = samples.reduce((a, b) => (Math.abs(b.t - t) < Math.abs(a.t - t) ? b : a), samples[0]);
  return best && Math.abs(best.t - t) <= gap ? best : null;
}

// --- faces --------------------------------------------------------------------------------------------------------

async function faces(words, file, report, pictures, stage) {
  const chips = node("div", { class: "chips", role: "group", "aria-label": "Faces" });
  const place = node("div");
  const choose = async (number) => {
    const face = file.faces[number];
    [...chips.children].forEach((chip, at) => chip.setAttribute("aria-pressed", at === number));
    if (stage) { stage.chosen = face.track; stage.draw(); }
    place.replaceChildren(await card(words.faces[number], face, file, report, pictures.get(face.track), words.heat_note, stage));
  };
  for (const [number, told] of words.faces.entries()) {
    const chip = node("button", { type: "button", class: file.faces[number].state, onclick: () => choose(number) });
    const about = pictures.get(told.track);
    if (about?.face) chip.append(node("img", { src: await blob(about.face), alt: "" }));
    chip.append(node("span", { class: "mark", "data-mark": MARKS[file.faces[number].state] }, `${told.name}: ${told.verdict}`));
    chips.append(chip);
  }
  await choose(deciding(file));
  return node("section", {}, node("h2", {}, report.settings.whole_image ? "The picture as a whole" : "Face by face"), chips, place);
}

// The face that the answer for the file rests on most.
function deciding(file) {
  const rank = (face) => [face.state === file.state, face.score ?? -1];
  const ranks = file.faces.map(rank);
  return ranks.reduce((best, now, at) => (now[0] - ranks[best][0] || now[1] - ranks[best][1]) > 0 ? at : best, 0);
}

async function card(told, face, file, report, pictures, heatNote, stage) {
  const left = node("div", { class: "picture" });
  if (pictures?.face) {
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
  } else left.append(node("p", { class: "fine" }, "Picture not kept."));
  const right = node("div", {}, node("h3", {}, `${told.name}: ${told.verdict}`));
  right.append(node("p", {}, told.number ? `Chance of forgery: ${told.number}${told.interval ? ` (90 % interval: ${told.interval})` : ""}` : "No number is given."));
  if (new Set(face.samples.map((sample) => sample.t)).size > 1) right.append(timeline(told, face, file, report.unsure, stage));
  if (told.reasons.length) right.append(node("h3", {}, "Why"), list(told.reasons));
  return node("article", { class: `face ${face.state}` }, left, right);
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
  const about = node("figcaption", {}, `One dot a frame, each judged alone; filled: 50 % or above. ${told.summary[0].toUpperCase()}${told.summary.slice(1)}.`);
  if (!stage?.clip) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${told.name} over time: ${told.summary}`);
    return node("figure", {}, svg, about);
  }
  const now = drawn("line", { class: "now", y1: 8, y2: 114, x1: x(0), x2: x(0) });
  svg.append(now);
  for (const [key, value] of Object.entries({ role: "slider", tabindex: 0, "aria-label": `${told.name}: chance of forgery over time; moves the clip`, "aria-valuemin": 0, "aria-valuemax": last.toFixed(2) })) svg.setAttribute(key, value);
  const moved = () => {
    const t = stage.medium.currentTime;
    const at = nearest(face.samples, t, last);
    now.setAttribute("x1", x(Math.min(t, last)));
    now.setAttribute("x2", x(Math.min(t, last)));
    svg.setAttribute("aria-valuenow", t.toFixed(2));
    svg.setAttribute("aria-valuetext", `${t.toFixed(1)} seconds${at ? `, ${Math.round(100 * at.score)} % in the nearest frame` : ", not seen"}`);
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
  return node("figure", {}, svg, about, node("p", { class: "fine screen" }, "Click, or use the arrow keys, to go to that moment of the clip."));
}

// --- what can be done with it --------------------------------------------------------------------------------------

function tools(scan) {
  const save = (name) => async () => {
    try { node("a", { href: await blob(`/v1/scans/${scan.id}/${name}`), download: name }).click(); } catch (error) { failed(error); }
  };
  const remove = async () => {
    if (!confirm("Delete this scan, its file and its report from the service?")) return;
    try { await api(`/v1/scans/${scan.id}`, { method: "DELETE" }); location.hash = ""; say("Deleted."); } catch (error) { failed(error); }
  };
  return node("div", { class: "tools" },
    node("button", { type: "button", onclick: save("report.html") }, "Download the report"),
    node("button", { type: "button", onclick: save("report.json") }, "Download JSON"),
    node("button", { type: "button", onclick: () => print() }, "Print"),
    node("button", { type: "button", id: "delete", onclick: remove }, "Delete"));
}

let cursor = null;
const NAMES = { fake: "Likely forged", real: "No known sign of forgery", uncertain: "Cannot tell", failed: "Could not be read", not_applicable: "No face to judge" };

async function history(further = false) {
  try {
    const query = further && cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const page = await (await api(`/v1/scans?limit=10${query}`)).json();
    const rows = page.items.map((item) => node("li", {}, node("a", { href: `#${item.id}` }, node("bdi", {}, item.name)),
      item.verdict ? node("span", { class: `mark ${item.verdict}`, "data-mark": MARKS[item.verdict] }, NAMES[item.verdict]) : node("span", {}, item.state),
      node("span", { class: "when" }, new Date(item.created).toLocaleString())));
    if (further) $("list").append(...rows);
    else $("list").replaceChildren(...rows);
    cursor = page.cursor;
    $("more").hidden = !cursor;
    $("past").hidden = !$("list").children.length;
  } catch (error) { if (error.status !== 401) failed(error); }
}

// --- asking --------------------------------------------------------------------------------------------------------

$("file").addEventListener("change", () => { send($("file").files[0]); $("file").value = ""; });
for (const event of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(event, (dragged) => {
    dragged.preventDefault();
    $("drop").classList.toggle("over", event === "dragover");
    if (event === "drop") send(dragged.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (pasted) => send([...pasted.clipboardData.files][0]));
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  $("token").value = "";
  $("access").hidden = true;
  open(location.hash.slice(1));
});
$("more").addEventListener("click", () => history(true));

let camera = null;
function closeCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  $("shot").hidden = true;
}
$("camera").addEventListener("click", async () => {
  closeCamera();
  if (!navigator.mediaDevices) return say("Browsers lend their camera to pages on https or on this machine only.");
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
    say("");
    $("shoot").disabled = true; // until there is a picture to take
    $("viewfinder").srcObject = camera;
    $("shot").hidden = false;
  } catch (error) { say(`The camera cannot be used: ${error.message}`); }
});
$("viewfinder").addEventListener("loadeddata", () => {
  $("shoot").disabled = false;
  $("shoot").focus();
});
$("stop").addEventListener("click", closeCamera);
$("shoot").addEventListener("click", () => {
  const [video, canvas] = [$("viewfinder"), document.createElement("canvas")];
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  closeCamera();
  canvas.toBlob((shot) => send(new File([shot], "camera.png", { type: "image/png" })), "image/png");
});

addEventListener("hashchange", () => open(location.hash.slice(1)));
open(location.hash.slice(1));
