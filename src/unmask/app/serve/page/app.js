// What is on the page at first: asking for files, and going from one scan to another.

import { $, say } from "./dom.js";
import { history } from "./history.js";
import { dropped, media, resume, scan } from "./queue.js";
import { open } from "./scan.js";
import { locked, token } from "./service.js";

const changed = () => history();
const ask = (asked) => scan(asked, (id) => { location.hash = id; }, changed);
const here = () => open(location.hash.slice(1), changed);

$("file").addEventListener("change", () => { ask({ files: [...$("file").files] }); $("file").value = ""; });
$("folder").addEventListener("change", () => {
  const files = [...$("folder").files];
  const fit = files.filter(media);
  ask({ files: fit, left: files.length - fit.length });
  $("folder").value = "";
});
for (const event of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(event, async (dragged) => {
    dragged.preventDefault();
    $("drop").classList.toggle("over", event === "dragover");
    if (event === "drop" && dragged.dataTransfer) ask(await dropped(dragged.dataTransfer));
  });
}
document.addEventListener("paste", (pasted) => {
  const files = [...pasted.clipboardData.files];
  if (files.length) ask({ files });
});
$("access").addEventListener("submit", async (event) => {
  event.preventDefault();
  token.set($("token").value.trim());
  $("token").value = "";
  say("");
  locked(false);
  await history(); // asks with it: where it is wrong, the question is there again
  if ($("access").hidden) { here(); resume(changed); } else $("token").focus();
});

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
  canvas.toBlob((shot) => ask({ files: [new File([shot], "camera.png", { type: "image/png" })] }), "image/png");
});

addEventListener("hashchange", here);
here();
if (location.hash.length > 1) changed();
