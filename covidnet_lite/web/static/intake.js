// Files from a drop, from the file chooser or from the clipboard.

import { byId } from "./dom.js";
import { isFilm } from "./zip.js";

export function watchIntake(take) {
  const chooser = byId("files");
  const choose = () => chooser.click();
  byId("add").addEventListener("click", choose);
  byId("add-folder").addEventListener("click", () => byId("folder").click());
  byId("choose").addEventListener("click", choose);
  for (const input of [chooser, byId("folder")]) {
    input.addEventListener("change", () => {
      const found = [...input.files];
      take(input === chooser ? found : found.filter((file) => isFilm(file.webkitRelativePath)));
      input.value = ""; // so that the same file can be chosen again
    });
  }

  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });

  const drags = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!drags(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", async (event) => {
    document.body.classList.remove("dropping");
    if (!drags(event)) return;
    event.preventDefault();
    take(await dropped(event.dataTransfer));
  });
  return choose;
}

async function dropped(transfer) {
  // Entries have to be asked for before the first wait: the transfer is emptied then.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = await Promise.all(entries.map(filesOf));
  return files.flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A browser gives them a hundred at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...some);
  }
  const visible = found.filter((one) => isFilm(one.name));
  return (await Promise.all(visible.map(filesOf))).flat();
}
