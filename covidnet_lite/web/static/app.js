// The page: opened radiographs are uploaded a few at a time, and the selected one is shown.

import { Api } from "./api.js";
import { Comparison } from "./comparison.js";
import { confirmed, unsavedReviews, watchLeaving } from "./confirm.js";
import { correctedFile, correctionFor } from "./correction.js";
import { headerOf } from "./dicom.js";
import { byId, setOptions } from "./dom.js";
import { exportCsv, exportJson } from "./exports.js";
import { watchFileInput } from "./fileinput.js";
import { watchFocus } from "./focus.js";
import { watchGestures } from "./gestures.js";
import { ImageCache } from "./images.js";
import { watchKeys } from "./keys.js";
import { showList } from "./listview.js";
import { Magnifier } from "./magnifier.js";
import { showPanel, storageNote, summary } from "./panel.js";
import { watchPrinting } from "./print.js";
import { Queue } from "./queue.js";
import { ReviewForm } from "./review.js";
import { Ruler } from "./ruler.js";
import { watchTheme } from "./theme.js";
import { Thumbnails } from "./thumbnails.js";
import { requestToken } from "./token.js";
import { drawSides, mapLegend, showColours, Toolbar } from "./toolbar.js";
import { Viewer } from "./viewer.js";
import { answerWord, identity, PENDING, Worklist } from "./worklist.js";
import { isZip, unpacked } from "./zip.js";

const PAN = 60; // pixels per key press

const api = new Api(requestToken);
const worklist = new Worklist();
const queue = new Queue(api, worklist);
const images = new ImageCache(api);
const viewer = new Viewer(byId("canvas"));
const [ruler, magnifier] = [new Ruler(viewer), new Magnifier(viewer)];
let displayed = null; // the entry whose image is in the viewer

watchTheme();
const keepFocus = watchFocus(worklist);
const about = await api.about();
const review = new ReviewForm(api, worklist, about);
const toolbar = new Toolbar(viewer, ruler, magnifier, () => displayed);
byId("storage-note").textContent = storageNote(about);
showColours(about.evidence_colours);
showList(worklist);
new Thumbnails(api, worklist);
new Comparison(worklist, images);
const choose = watchFileInput(open);
watchGestures(byId("canvas"), viewer, ruler, magnifier);
watchLeaving(worklist);
const printAll = watchPrinting(worklist, about, displayedCanvas);
showPanel(null, about);
worklist.addEventListener("select", showSelected);
viewer.addEventListener("detail", loadDetail);

async function open(files, fields = {}) {
  const entries = worklist.add(files.some(isZip) ? await unpacked(files) : files, fields);
  queue.add(entries);
  for (const entry of entries) readHeader(entry);
  return entries;
}

async function readHeader(entry) {
  const header = await headerOf(entry.file).catch(() => ({})); // the server reports a file that cannot be read
  if (!Object.keys(header).length) return;
  entry.header = header;
  worklist.changed(entry);
}

async function showSelected() {
  const entry = worklist.selected;
  showPanel(entry, about);
  review.show(entry);
  byId("retry").hidden = !entry?.retryable;
  byId("correct").hidden = !correctionFor(entry?.result);
  byId("welcome").hidden = Boolean(entry);
  byId("tools").dataset.empty = String(!entry);
  byId("corner-name").textContent = entry ? [entry.name, ...identity(entry)].join("\n") : "";
  byId("corner-size").textContent = "";
  if (!entry) {
    showMessage("");
    showImage(null, null);
    byId("canvas").setAttribute("aria-label", "No radiograph");
    return;
  }
  const answer = entry.result?.labels?.length ? `, answer: ${answerWord(entry)}` : "";
  byId("canvas").setAttribute("aria-label", `Radiograph ${entry.name}${answer}`);
  await loadImage(entry);
  if (entry === worklist.selected) showMap(entry);
}

async function loadImage(entry) {
  if (entry === displayed) {
    toolbar.update(entry);
    showSize(viewer.image);
    return;
  }
  showImage(null, null);
  if (entry.status === PENDING) {
    showMessage("Uploading …"); // the image is requested by the hash in the result
    return;
  }
  showMessage("Loading …");
  try {
    const image = await images.of(entry);
    if (entry !== worklist.selected) return;
    showMessage("");
    showSize(image);
    if (entry !== displayed) showImage(entry, image);
  } catch (error) {
    if (entry === worklist.selected) showMessage(`The image cannot be shown: ${error.message}`);
  }
}

function showImage(entry, image, options) {
  displayed = entry;
  viewer.show(image, options);
  if (!options) toolbar.update(entry);
}

function showSize({ originalWidth, originalHeight }) {
  byId("corner-size").textContent = `${originalWidth} × ${originalHeight}`;
}

function showMap(entry) {
  const { result } = entry;
  const grids = result?.evidence ?? null;
  const labels = Object.keys(grids ?? {});
  const select = byId("evidence-label");
  // An abstention shows no map until the user chooses one: a map would be read as a finding.
  const answered = Boolean(result?.labels?.length);
  setOptions(select, [...(answered ? [] : [["", labels.length ? "choose" : "none"]]), ...labels.map((label) => [label, label])]);
  select.disabled = byId("opacity").disabled = !labels.length;
  keepFocus();
  select.value = answered ? answerWord(entry) : "";
  if (entry !== displayed) return;
  viewer.overlay(grids, frameOf(entry), about.evidence_colours, select.value);
  if (result && !entry.displayTime) requestAnimationFrame(() => showDisplayTime(entry));
}

function showDisplayTime(entry) {
  if (entry !== displayed) return;
  entry.displayTime = `${Math.round(performance.now() - entry.startedAt)} ms after it was ${entry.startedBy}`;
  showPanel(entry, about);
}

const frameOf = (entry) => entry.result?.view ?? [0, 0, 1, 1];

async function loadDetail() {
  const entry = displayed;
  if (!entry || entry.loadingDetail) return;
  entry.loadingDetail = true;
  try {
    const image = await images.inFull(entry);
    if (entry === displayed) showImage(entry, image, { same: true });
    entry.loadingDetail = false; // stays set after a failure: else every repaint would ask again
  } catch (error) {
    if (entry === displayed) showMessage(`Full detail cannot be shown: ${error.message}`);
  }
}

// The displayed radiograph as it is on the screen, for paper.
function displayedCanvas(entry, longest) {
  return entry === displayed ? captioned(entry, viewer, longest) : null;
}

// Any radiograph as the page shows it at first.
async function initialCanvas(entry, longest) {
  const other = new Viewer(document.createElement("canvas"));
  try {
    other.show(await images.of(entry));
  } catch {
    return null;
  }
  const label = entry.result.labels.length ? answerWord(entry) : "";
  other.overlay(entry.result.evidence, frameOf(entry), about.evidence_colours, label);
  return captioned(entry, other, longest);
}

function captioned(entry, source, longest) {
  const canvas = source.copy(longest);
  if (!canvas) return null;
  canvas.dataset.caption = mapLegend(source, entry);
  drawSides(canvas, entry.header, source);
  return canvas;
}

function showMessage(text) {
  byId("stage-message").textContent = text;
  byId("stage-message").hidden = !text;
}

async function correct() {
  const entry = worklist.selected;
  const image = await images.inFull(entry);
  const { patient, id, date, accession } = entry.header;
  const file = await correctedFile(image, correctionFor(entry.result), entry.name);
  const [added] = await open([file], { header: { patient, id, date, accession } });
  worklist.select(added.id);
}

async function clear() {
  const { drafts } = worklist;
  if (drafts && !(await confirmed(`${unsavedReviews(drafts)} Clear the list anyway?`, "Clear list"))) return;
  queue.clear();
  images.clear();
  worklist.clear();
}

const onClick = (id, action) => byId(id).addEventListener("click", action);
const showHelp = () => byId("help").showModal();
const next = () => worklist.step(1);
const previous = () => worklist.step(-1);
onClick("previous", previous);
onClick("next", next);
onClick("help-button", showHelp);
onClick("export-csv", () => exportCsv(worklist, about.labels));
onClick("export-json", () => exportJson(worklist));
onClick("print", () => window.print());
onClick("print-all", () => printAll(initialCanvas));
onClick("retry-all", () => queue.retry(worklist.retryable));
onClick("retry", () => queue.retry([worklist.selected]));
onClick("correct", correct);
onClick("clear", clear);

const { actions } = toolbar;
watchKeys(
  {
    ArrowDown: next, j: next, ArrowUp: previous, k: previous, o: choose, "?": showHelp, "/": () => byId("search").focus(),
    i: actions.invert, r: actions.reset, t: actions.rotate, f: actions.flip, m: actions.ruler, z: actions.magnifier, 1: actions.actual,
    F: actions["full-screen"], "+": actions["zoom-in"], "=": actions["zoom-in"], "-": actions["zoom-out"],
    h: () => toolbar.toggleMap(), "[": () => toolbar.setOpacity(viewer.opacity - 0.1), "]": () => toolbar.setOpacity(viewer.opacity + 0.1),
    "Shift ArrowLeft": () => viewer.panBy(PAN, 0), "Shift ArrowRight": () => viewer.panBy(-PAN, 0),
    "Shift ArrowUp": () => viewer.panBy(0, PAN), "Shift ArrowDown": () => viewer.panBy(0, -PAN),
    a: () => review.setVerdict("agree"), d: () => review.setVerdict("disagree"), save: () => review.send(),
  },
  () => byId("single-keys").checked,
);
showSelected();
document.documentElement.dataset.ready = "true";
