// The page: films come in, are classified a few at a time, and the one that is chosen is shown.

import { Api } from "./api.js";
import { answerWord, Cases, PENDING } from "./cases.js";
import { byId, element } from "./dom.js";
import { exportCsv, exportJson } from "./exports.js";
import { watchFocus } from "./focus.js";
import { watchGestures } from "./gestures.js";
import { watchIntake } from "./intake.js";
import { watchKeys } from "./keys.js";
import { showList } from "./list.js";
import { fate, showPanel } from "./panel.js";
import { ReviewForm } from "./review.js";
import { watchTheme } from "./theme.js";
import { Viewer } from "./viewer.js";
import { isZip, unpacked } from "./zip.js";

const AT_ONCE = 3; // requests; the server has few cores
const REMEMBERED = 8; // pictures of films seen last
const PAN = 60; // pixels a key press

const api = new Api(askToken);
const cases = new Cases();
const viewer = new Viewer(byId("canvas"));
const pictures = new Map(); // id -> promise of a film, the one seen last at the end; no other place keeps films
let onScreen = null; // the case whose film is in the viewer
let waiting = [];
let working = 0;

watchTheme();
const keepFocus = watchFocus(cases);
const about = await api.about();
const review = new ReviewForm(api, cases, about);
byId("kept").textContent = fate(about);
showColours(about.evidence_colours);
showList(cases);
const choose = watchIntake(take);
watchGestures(byId("canvas"), viewer);
showPanel(null, about);
cases.addEventListener("select", showSelected);
viewer.addEventListener("view", showView);
viewer.addEventListener("detail", moreDetail);

async function take(given) {
  const files = given.some(isZip) ? await unpacked(given) : given;
  if (!files.length) return;
  waiting.push(...cases.add(files));
  work();
}

function work() {
  while (working < AT_ONCE && waiting.length) {
    // What is looked at comes first.
    const at = Math.max(0, waiting.indexOf(cases.selected));
    const [one] = waiting.splice(at, 1);
    working += 1;
    classify(one).finally(() => {
      working -= 1;
      work();
    });
  }
}

async function classify(one) {
  let result;
  try {
    result = await api.classify(one.file);
  } catch (error) {
    result = { name: one.name, status: "failed", label: null, labels: [], reason: error.message, probabilities: {} };
  }
  if (cases.has(one)) cases.settle(one, result);
}

async function showSelected() {
  const one = cases.selected;
  showPanel(one, about);
  review.show(one);
  byId("welcome").hidden = Boolean(one);
  byId("tools").dataset.empty = String(!one);
  byId("corner-name").textContent = one?.name ?? "";
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
  if (one === onScreen) return tellSize(viewer.film);
  showFilm(null, null);
  message("Loading …");
  try {
    const film = await pictureOf(one);
    if (one !== cases.selected) return;
    message("");
    tellSize(film);
    if (one !== onScreen) showFilm(one, film);
  } catch (error) {
    if (one === cases.selected) message(`No picture: ${error.message}`);
  }
}

// Asked for once, however often it is shown while it is on its way.
function pictureOf(one) {
  const film = pictures.get(one.id) ?? api.picture(one.file);
  remember(one, film);
  film.catch(() => pictures.delete(one.id));
  return film;
}

function showFilm(one, film, how) {
  onScreen = one;
  viewer.show(film, how);
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
  if (one === onScreen) viewer.overlay(grids, result?.view ?? [0, 0, 1, 1], about.evidence_colours, label);
  if (result && one.status !== PENDING && !one.waited && one === onScreen) {
    requestAnimationFrame(() => {
      if (one !== onScreen) return;
      one.waited = `${Math.round(performance.now() - one.since)} ms after it was ${one.act}`;
      showPanel(one, about);
    });
  }
}

function remember(one, film) {
  pictures.delete(one.id);
  pictures.set(one.id, film);
  while (pictures.size > REMEMBERED) pictures.delete(pictures.keys().next().value);
}

async function moreDetail() {
  const one = onScreen;
  if (!one || one.asking) return;
  one.asking = true;
  try {
    const film = await api.picture(one.file, true);
    if (one === onScreen) {
      remember(one, Promise.resolve(film));
      showFilm(one, film, { same: true });
    }
    one.asking = false; // after a failure it stays: every repaint would ask again
  } catch (error) {
    if (one === onScreen) message(`No more detail: ${error.message}`);
  }
}

function message(text) {
  const place = byId("stage-message");
  place.textContent = text;
  place.hidden = !text;
}

function showView() {
  const { width, level } = viewer.window;
  byId("window").value = width;
  byId("level").value = level;
  byId("invert").setAttribute("aria-pressed", String(viewer.inverted));
  const shown = viewer.film ? `W ${Math.round(width)} L ${Math.round(level)}  ${Math.round(viewer.scale * 100)}%` : "";
  showLegend();
  byId("corner-window").textContent = shown + (viewer.inverted && shown ? "  inverted" : "");
}

function showLegend() {
  const { mapShown: map, label } = viewer;
  byId("map-legend").hidden = !map;
  if (!map) return;
  const answered = Boolean(onScreen?.result?.labels?.length);
  byId("map-label").textContent = `Evidence for ${label}${answered ? "" : " (no answer)"}, logits:`;
  byId("map-most").textContent = Math.max(0, map.most).toFixed(1);
}

function showColours(colours) {
  const canvas = byId("colours");
  const image = new ImageData(256, 1);
  colours.forEach((colour, i) => image.data.set([...colour, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function setOpacity(share) {
  viewer.opacity = Math.min(1, Math.max(0, share));
  byId("opacity").value = Math.round(viewer.opacity * 100);
  viewer.draw();
}

const invert = () => {
  viewer.inverted = !viewer.inverted;
  viewer.draw();
};
let before = 0.45;
const toggleMap = () => {
  const now = viewer.opacity;
  setOpacity(now > 0 ? 0 : before);
  if (now > 0) before = now;
};
const press = (id, action) => byId(id).addEventListener("click", action);
press("previous", () => cases.step(-1));
press("next", () => cases.step(1));
press("zoom-in", () => viewer.zoomBy(1.4));
press("zoom-out", () => viewer.zoomBy(1 / 1.4));
press("invert", invert);
press("reset", () => viewer.reset());
press("help-button", () => byId("help").showModal());
press("export-csv", () => exportCsv(cases, about.labels));
press("export-json", () => exportJson(cases));
press("clear", () => {
  waiting = [];
  pictures.clear();
  cases.clear();
});
byId("window").addEventListener("input", (event) => viewer.setWindow(Number(event.target.value), viewer.window.level));
byId("level").addEventListener("input", (event) => viewer.setWindow(viewer.window.width, Number(event.target.value)));
byId("opacity").addEventListener("input", (event) => setOpacity(Number(event.target.value) / 100));
byId("evidence-label").addEventListener("change", (event) => {
  viewer.label = event.target.value;
  viewer.draw();
});

const down = () => cases.step(1);
const up = () => cases.step(-1);
watchKeys(
  {
    ArrowDown: down, j: down, ArrowUp: up, k: up,
    i: invert, r: () => viewer.reset(), h: toggleMap, o: choose, "?": () => byId("help").showModal(),
    "+": () => viewer.zoomBy(1.4), "=": () => viewer.zoomBy(1.4), "-": () => viewer.zoomBy(1 / 1.4),
    "[": () => setOpacity(viewer.opacity - 0.1), "]": () => setOpacity(viewer.opacity + 0.1),
    "Shift ArrowLeft": () => viewer.panBy(PAN, 0), "Shift ArrowRight": () => viewer.panBy(-PAN, 0),
    "Shift ArrowUp": () => viewer.panBy(0, PAN), "Shift ArrowDown": () => viewer.panBy(0, -PAN),
    a: () => review.mark("agree"), d: () => review.mark("disagree"), save: () => review.send(),
  },
  () => byId("single-keys").checked,
);
showSelected();
document.documentElement.dataset.ready = "true";

function askToken(why) {
  const dialog = byId("token-dialog");
  byId("token-error").textContent = why;
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    const again = () => dialog.showModal(); // left with Escape; without a token there is nothing to see
    dialog.addEventListener("close", again);
    byId("token-form").addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        dialog.removeEventListener("close", again);
        dialog.close();
        resolve(byId("token").value.trim());
      },
      { once: true },
    );
  });
}
