// Files from the file chooser, a drop or the clipboard.

import { byId } from "./dom.js";
import { mayBeRadiograph } from "./zip.js";

// open: (files) => ...; returns a function that opens the file chooser.
export function watchFileInput(open) {
  const [files, folder] = [byId("files"), byId("folder")];
  const choose = () => files.click();
  byId("add").addEventListener("click", choose);
  byId("choose").addEventListener("click", choose);
  byId("add-folder").addEventListener("click", () => folder.click());
  files.addEventListener("change", () => open(chosenFiles(files)));
  folder.addEventListener("change", () => open(chosenFiles(folder).filter((file) => mayBeRadiograph(file.webkitRelativePath))));

  document.addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files];
    if (!pasted.length) return;
    event.preventDefault();
    open(pasted);
  });

  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", async (event) => {
    document.body.classList.remove("dropping");
    if (!hasFiles(event)) return;
    event.preventDefault();
    open(await droppedFiles(event.dataTransfer));
  });
  return choose;
}

function chosenFiles(input) {
  const files = [...input.files];
  input.value = ""; // else choosing the same file again would not be an event
  return files;
}

async function droppedFiles(transfer) {
  // The browser empties the transfer at the first await, so the entries are read before.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = await Promise.all(entries.map(filesOf));
  return files.flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const members = [];
  for (;;) {
    // The browser returns a hundred entries at a time.
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) break;
    members.push(...batch);
  }
  const candidates = members.filter(({ name }) => mayBeRadiograph(name));
  return (await Promise.all(candidates.map(filesOf))).flat();
}
