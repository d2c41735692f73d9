// Files on their way: a list with the progress of each. They are sent one after the other, so that a folder does not
// fill the line, and scanned in the order in which they arrive.

import { $, failed, icon, node, say } from "./dom.js";
import { api, json, send } from "./service.js";

const LOOKED_AT = 4; // scans asked for at once: the service works through its queue in order
const POLL = 1000;
const KNOWN = /\.(jpe?g|png|webp|gif|bmp|tiff?|heic|heif|avif|mp4|m4v|mov|webm|mkv|avi|mpe?g|m2ts|ts|flv|wmv|3gp|ogv|y4m)$/i;

let items = []; // {file, name, row, state: waiting | sending | scanning | ended, id, stop}
let sending = false;
let polling = false;

export const media = (file) => /^(image|video)\//.test(file.type) || KNOWN.test(file.name);

// All files of what was dropped, folders with all below them. `left`: how many in folders are no pictures or videos.
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return { files: [...transfer.files], left: 0 };
  const [files, inside] = [[], []];
  for (const entry of entries) await (entry.isFile ? took(entry, files) : walked(entry, inside));
  const fit = inside.filter(media);
  return { files: [...files, ...fit], left: inside.length - fit.length };
}

const took = (entry, into) => new Promise((done) => entry.file((file) => { into.push(file); done(); }, done));

async function walked(folder, into) {
  const reader = folder.createReader();
  for (;;) { // a reader gives a hundred entries at a time
    const some = await new Promise((done) => reader.readEntries(done, () => done([])));
    if (!some.length) return;
    for (const entry of some) await (entry.isFile ? took(entry, into) : walked(entry, into));
  }
}

// `alone`: what to do with the scan of a single file, once it is accepted; `changed`: that some scan has ended.
export function scan({ files, left = 0 }, alone, changed) {
  if (left) say(`${left} ${left === 1 ? "file" : "files"} in the folder left out: neither pictures nor videos.`);
  else if (!files.length) return say("There was no file in it.");
  else say("");
  for (const file of files) items.push(added(file, files.length === 1 && !busy() ? alone : null));
  shown();
  pump(changed);
}

const busy = () => items.some((item) => item.state !== "ended");

function added(file, alone) {
  const bar = node("progress", { max: 1, "aria-label": `Progress of ${file.name}` });
  const told = node("span", { class: "told" }, "Waiting");
  const item = { file, name: file.name, alone, state: "waiting", bar, told, stop: new AbortController() };
  const drop = node("button", { type: "button", class: "quiet", "aria-label": `Take ${file.name} off the list`, onclick: () => removed(item) }, "✕");
  item.row = node("li", {}, node("span", { class: "file" }, node("bdi", {}, file.name)), told, bar, drop);
  bar.hidden = true;
  $("queue-list").append(item.row);
  return item;
}

function mark(item, text, share) {
  item.told.replaceChildren(text);
  item.bar.hidden = share === undefined;
  if (share === null) item.bar.removeAttribute("value");
  else if (share !== undefined) item.bar.value = share;
}

async function removed(item) {
  const id = item.state === "scanning" ? item.id : null; // what has ended stays among the earlier scans
  leave(item, () => item.stop.abort());
  if (id) await api(`/v1/scans/${id}`, { method: "DELETE" }).catch(() => null);
}

async function pump(changed) {
  if (sending) return;
  sending = true;
  let item;
  while ((item = items.find((one) => one.state === "waiting")) && (await sent(item, changed)));
  sending = false;
}

// Returns whether there is sense in sending the next.
async function sent(item, changed) {
  item.state = "sending";
  try {
    const scan = await send(item.file, (share) => mark(item, `Sending: ${Math.round(100 * share)} %`, share), item.stop.signal);
    [item.id, item.state, item.file] = [scan.id, "scanning", null];
    mark(item, "Waiting for a free place", null);
    if (item.alone) leave(item, () => item.alone(scan.id));
    else poll(changed);
  } catch (error) {
    if (item.state === "ended") return true; // it was taken off the list
    if (error.status === 401) {
      item.state = "waiting";
      mark(item, "Waiting for a token");
      return false;
    }
    if (error.retry) { // the queue is full, or this was quicker than allowed: the file keeps its place
      item.state = "waiting";
      mark(item, `The service is busy; again in ${error.retry} s`, null);
      await new Promise((done) => setTimeout(done, 1000 * error.retry));
    } else if (item.alone) leave(item, () => failed(error));
    else ended(item, "failed", `Not scanned: ${error.message}`);
  }
  shown();
  return true;
}

function leave(item, then) {
  item.state = "ended";
  items = items.filter((one) => one !== item);
  item.row.remove();
  shown();
  then();
}

function ended(item, state, text) {
  item.state = "ended";
  item.row.className = state;
  mark(item, node("span", {}, icon(state), text));
  if (item.id) item.row.firstChild.replaceChildren(node("a", { href: `#${item.id}` }, node("bdi", {}, item.name)));
}

async function poll(changed) {
  if (polling) return;
  polling = true;
  for (let some; (some = items.filter((item) => item.state === "scanning").slice(0, LOOKED_AT)).length; ) {
    for (const item of some) await looked(item).then((done) => done && changed());
    shown();
    await new Promise((done) => setTimeout(done, POLL));
  }
  polling = false;
}

async function looked(item) {
  try {
    const scan = await json(`/v1/scans/${item.id}`);
    if (scan.state === "queued") mark(item, "Waiting for a free place", null);
    else if (scan.state === "running") mark(item, `Looking at it: ${Math.round(100 * scan.progress)} %`, scan.progress || null);
    else ended(item, scan.verdict, [scan.answer, scan.number].filter(Boolean).join(", "));
  } catch (error) {
    if (error.status === 404) ended(item, "failed", "Deleted");
    else mark(item, "No answer; asking again", null);
  }
  return item.state === "ended";
}

function shown() {
  const open = items.filter((item) => item.state !== "ended").length;
  $("queue").hidden = !items.length;
  $("queue-title").textContent = open ? `${items.length - open} of ${items.length} files done` : `${items.length} files done`;
  $("queue-clear").hidden = open === items.length;
}

export const resume = (changed) => pump(changed);

$("queue-clear").addEventListener("click", () => {
  items.filter((item) => item.state === "ended").forEach((item) => item.row.remove());
  items = items.filter((item) => item.state !== "ended");
  shown();
});
