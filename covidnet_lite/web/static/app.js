// The page: films come in, are classified a few at a time, and the one that is chosen is shown.

import { Api } from "./api.js";
import { ask, unsaved, watchLeaving } from "./ask.js";
import { Beside } from "./beside.js";
import { answerWord, Cases, PENDING, whose } from "./cases.js";
import { headerOf } from "./dicom.js";
import { byId, element } from "./dom.js";
import { exportCsv, exportJson } from "./exports.js";
import { watchFocus } from "./focus.js";
import { watchGestures } from "./gestures.js";
import { Magnifier, Ruler } from "./instruments.js";
import { watchIntake } from "./intake.js";
import { watchKeys } from "./keys.js";
import { showList } from "./list.js";
import { fate, showPanel, words } from "./panel.js";
import { Pictures } from "./pictures.js";
import { watchPrinting } from "./print.js";
import { Queue } from "./queue.js";
import { ReviewForm } from "./review.js";
import { watchTheme } from "./theme.js";
import { Thumbnails } from "./thumbnails.js";
import { askToken } from "./token.js";
import { markSides, showColours, Toolbar } from "./toolbar.js";
import { remedy, upright } from "./upright.js";
import { Viewer } from "./viewer.js";
import { isZip, unpacked } from "./zip.js";

const PAN = 60; // pixels a key press

const api = new Api(askToken);
const cases = new Cases();
const queue = new Queue(api, cases);
const pictures = new Pictures(api);
const viewer = new Viewer(byId("canvas"));
const [ruler, magnifier] = [new Ruler(viewer), new Magnifier(viewer)];
let onScreen = null; // the case whose film is in the viewer

watchTheme();
const keepFocus = watchFocus(cases);
const about = await api.about();
const review = new ReviewForm(api, cases, about);
const toolbar = new Toolbar(viewer, ruler, magnifier, () => onScreen);
byId("kept").textContent = fate(about);
showColours(about.evidence_colours);
showList(cases);
new Thumbnails(api, cases);
new Beside(cases, pictures);
const choose = watchIntake(take);
watchGestures(byId("canvas"), viewer, ruler, magnifier);
watchLeaving(cases);
const printAll = watchPrinting(cases, about, (one) => words(one, about), printed);
showPanel(null, about);
cases.addEventListener("select", showSelected);
viewer.addEventListener("detail", moreDetail);

async function take(given, known = {}) {
  const files = given.some(isZip) ? await unpacked(given) : given;
  if (!files.length) return [];
  const added = cases.add(files, known);
  queue.add(added);
  for (const one of added) readHeader(one);
  return added;
}

async function readHeader(one) {
  const header = await headerOf(one.file).catch(() => ({})); // a file that cannot be read is told of by its answer
  if (!Object.keys(header).length) return;
  one.header = header;
  cases.changed(one);
}

async function showSelected() {
  const one = cases.selected;
  showPanel(one, about);
  review.show(one);
  byId("again").hidden = !one?.passing;
  byId("put-right").hidden = !remedy(one?.result);
  byId("welcome").hidden = Boolean(one);
  byId("tools").dataset.empty = String(!one);
  byId("corner-name").textContent = one ? [one.name, ...whose(one)].join("\n") : "";
  byId("corner-size").textContent = "";
  if (!one) {
    message("");
    showFilm(null, null);
    byId("canvas").setAttribute("aria-label", "No radiograph");
    return;
  }
  byId("canvas").setAttribute("aria-label", `Radiograph ${one.name}${one.result?.labels?.length ? `, answer: ${answerWord(one)}` : ""}`);
  await showPicture(one);
  if (one === cases.selected) showMap(one);
}

async function showPicture(one) {
  if (one === onScreen) {
    toolbar.take(one);
    return tellSize(viewer.film);
  }
  showFilm(null, null);
  if (one.status === PENDING) return message("On its way …"); // the picture is asked for by the hash in the answer
  message("Loading …");
  try {
    const film = await pictures.of(one);
    if (one !== cases.selected) return;
    message("");
    tellSize(film);
    if (one !== onScreen) showFilm(one, film);
  } catch (error) {
    if (one === cases.selected) message(`No picture: ${error.message}`);
  }
}

function showFilm(one, film, how) {
  onScreen = one;
  viewer.show(film, how);
  if (!how) toolbar.take(one);
}

function tellSize(film) {
  byId("corner-size").textContent = `${film.originalWidth} × ${film.originalHeight}`;
}

function showMap(one) {
  const { result } = one;
  const grids = result?.evidence ?? null;
  const labels = Object.keys(grids ?? {});
  const select = byId("evidence-label");
  // An abstention shows no map until somebody asks for one, which would be read as a finding.
  const answered = Boolean(result?.labels?.length);
  const none = labels.length && !answered ? [element("option", { value: "", text: "choose" })] : [];
  select.replaceChildren(...none, ...labels.map((label) => element("option", { value: label, text: label })));
  select.disabled = byId("opacity").disabled = !labels.length;
  keepFocus();
  const label = answered ? answerWord(one) : "";
  select.value = label;
  if (one === onScreen) viewer.overlay(grids, frameOf(one), about.evidence_colours, label);
  if (result && one.status !== PENDING && !one.waited && one === onScreen) {
    requestAnimationFrame(() => {
      if (one !== onScreen) return;
      one.waited = `${Math.round(performance.now() - one.since)} ms after it was ${one.act}`;
      showPanel(one, about);
    });
  }
}

const frameOf = (one) => one.result?.view ?? [0, 0, 1, 1];

async function moreDetail() {
  const one = onScreen;
  if (!one || one.asking) return;
  one.asking = true;
  try {
    const film = await pictures.inFull(one);
    if (one === onScreen) showFilm(one, film, { same: true });
    one.asking = false; // after a failure it stays: every repaint would ask again
  } catch (error) {
    if (one === onScreen) message(`No more detail: ${error.message}`);
  }
}

// The film on screen, as it is shown, for paper.
function printed(one, longest) {
  const canvas = one === onScreen ? viewer.copy(longest) : null;
  if (canvas) canvas.dataset.caption = toolbar.legend();
  if (canvas) markSides(canvas, one.header, viewer);
  return canvas;
}

// Another one, as it would be shown.
async function drawn(one, longest) {
  const other = new Viewer(document.createElement("canvas"));
  try {
    other.show(await pictures.of(one));
  } catch {
    return null;
  }
  const label = one.result.labels.length ? answerWord(one) : "";
  other.overlay(one.result.evidence, frameOf(one), about.evidence_colours, label);
  const canvas = other.copy(longest);
  markSides(canvas, one.header, other);
  if (other.mapShown) canvas.dataset.caption = `Evidence for ${label}, logits: 0 to ${Math.max(0, other.mapShown.most).toFixed(1)}`;
  return canvas;
}

function message(text) {
  const place = byId("stage-message");
  place.textContent = text;
  place.hidden = !text;
}

async function putRight() {
  const one = cases.selected;
  const picture = await pictures.inFull(one);
  const { patient, id, date, accession } = one.header;
  const [added] = await take([await upright(picture, remedy(one.result), one.name)], { header: { patient, id, date, accession } });
  cases.select(added.id);
}

async function clear() {
  if (cases.drafts && !(await ask(`${unsaved(cases.drafts)} Clear the list all the same?`, "Clear"))) return;
  queue.clear();
  pictures.clear();
  cases.clear();
}

const press = (id, action) => byId(id).addEventListener("click", action);
press("previous", () => cases.step(-1));
press("next", () => cases.step(1));
press("help-button", () => byId("help").showModal());
press("export-csv", () => exportCsv(cases, about.labels));
press("export-json", () => exportJson(cases));
press("print", () => window.print());
press("print-all", () => printAll(drawn));
press("retry", () => queue.retry(cases.lost));
press("again", () => queue.retry([cases.selected]));
press("put-right", putRight);
press("clear", clear);

const down = () => cases.step(1);
const up = () => cases.step(-1);
const { actions } = toolbar;
watchKeys(
  {
    ArrowDown: down, j: down, ArrowUp: up, k: up, o: choose, "?": () => byId("help").showModal(), "/": () => byId("search").focus(),
    i: actions.invert, r: actions.reset, t: actions.rotate, f: actions.flip, m: actions.ruler, z: actions.magnifier, 1: actions.actual,
    F: actions.full, "+": actions["zoom-in"], "=": actions["zoom-in"], "-": actions["zoom-out"],
    h: () => toolbar.toggleMap(), "[": () => toolbar.setOpacity(viewer.opacity - 0.1), "]": () => toolbar.setOpacity(viewer.opacity + 0.1),
    "Shift ArrowLeft": () => viewer.panBy(PAN, 0), "Shift ArrowRight": () => viewer.panBy(-PAN, 0),
    "Shift ArrowUp": () => viewer.panBy(0, PAN), "Shift ArrowDown": () => viewer.panBy(0, -PAN),
    a: () => review.mark("agree"), d: () => review.mark("disagree"), save: () => review.send(),
  },
  () => byId("single-keys").checked,
);
showSelected();
document.documentElement.dataset.ready = "true";
