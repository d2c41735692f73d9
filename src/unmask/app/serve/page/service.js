// Talking to the service.

import { $, say } from "./dom.js";

let urls = []; // object URLs to give back

export const token = {
  get: () => sessionStorage.getItem("token"),
  set: (text) => sessionStorage.setItem("token", text),
};
const bearer = () => (token.get() ? { Authorization: `Bearer ${token.get()}` } : {});

// Without a token that the service knows nothing on the page works: only the question for one is left.
export function locked(yes) {
  if (yes && token.get()) say("The service does not know this token. Check it for missing characters, or ask whoever runs the service.");
  $("access").hidden = !yes;
  document.body.classList.toggle("locked", yes);
}

async function problem(answer) {
  if (answer.status === 401) locked(true);
  const told = await answer.json().catch(() => ({ detail: answer.statusText }));
  return Object.assign(new Error(told.detail), { status: answer.status });
}

export async function api(path, options = {}) {
  const answer = await fetch(path.replace(/^\//, ""), { ...options, headers: { ...options.headers, ...bearer() } });
  if (!answer.ok) throw await problem(answer);
  return answer;
}

export const json = async (path) => (await api(path)).json();

export async function blob(path, kept = true) {
  const url = URL.createObjectURL(await (await api(path)).blob());
  if (kept) urls.push(url);
  return url;
}

export const release = () => urls.splice(0).forEach((url) => URL.revokeObjectURL(url));

// Sends a file. `progress(share)` is told how much is sent; `signal` ends it. Returns the scan; where the service has
// no room at the moment, the error says in `retry` after how many seconds it may.
export function send(file, progress, signal) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("file", file, file.name || "picture.png");
    const request = new XMLHttpRequest(); // fetch cannot tell how much was sent
    request.open("POST", "v1/scans");
    request.setRequestHeader("Prefer", "respond-async");
    for (const [name, value] of Object.entries(bearer())) request.setRequestHeader(name, value);
    signal.addEventListener("abort", () => request.abort());
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onabort = () => reject(new Error("it was taken off the list"));
    request.onerror = () => reject(new Error("the service cannot be reached, or the file can no longer be read"));
    request.onload = () => {
      let told = {};
      try { told = JSON.parse(request.responseText); } catch { /* a proxy's page */ }
      if (request.status === 202) return resolve(told);
      if (request.status === 401) locked(true);
      const retry = [429, 503].includes(request.status) ? Number(request.getResponseHeader("Retry-After")) || 5 : 0;
      reject(Object.assign(new Error(told.detail || request.statusText || "no answer"), { status: request.status, retry }));
    };
    request.send(form);
  });
}

// Events of a scan until it has ended; `wanted()` says whether somebody still listens.
export async function follow(id, told, wanted) {
  const answer = await api(`/v1/scans/${id}/events`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done || !wanted()) return reader.cancel();
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").find((row) => row.startsWith("data: "));
      if (data) told(JSON.parse(data.slice(6)));
    }
  }
}
