// Zip archives, taken apart in the browser: each film in one is a file of its own, "archive.zip/member".

const MOST = 1000; // members
const LARGEST = 256 * 2 ** 20; // bytes of a member
const END = 0x06054b50;
const ENTRY = 0x02014b50;

// The files, with those in zip archives in the place of the archive; what cannot be unpacked stays as it is, to be told.
export async function unpacked(files) {
  const parts = await Promise.all(files.map((file) => (isZip(file) ? members(file).catch(() => [file]) : [file])));
  return parts.flat();
}

export function isZip(file) {
  return /\.zip$/i.test(file.name);
}

async function members(file) {
  const data = new DataView(await file.arrayBuffer());
  let end = data.byteLength - 22;
  while (end >= 0 && data.getUint32(end, true) !== END) end -= 1;
  const count = data.getUint16(end + 10, true);
  if (count > MOST) return [file];
  const found = [];
  let at = data.getUint32(end + 16, true);
  for (let i = 0; i < count && data.getUint32(at, true) === ENTRY; i += 1) {
    const [name, extra, comment] = [28, 30, 32].map((offset) => data.getUint16(at + offset, true));
    const path = new TextDecoder().decode(new Uint8Array(data.buffer, at + 46, name));
    if (isFilm(path)) found.push(await member(file, data, at, path));
    at += 46 + name + extra + comment;
  }
  return found.length ? found : [file];
}

// Hidden files, those of macOS among them, and what is plainly no film, are left alone.
export function isFilm(path) {
  const name = path.split("/").pop();
  return name && !path.startsWith("__MACOSX/") && !name.startsWith(".") && !/\.(txt|csv|json|md|html?|pdf|xml)$/i.test(name);
}

// Not unpacked, it is a small file that the server tells to be none.
async function member(file, data, at, path) {
  const name = `${file.name}/${path}`;
  const [method, packed, size] = [data.getUint16(at + 10, true), data.getUint32(at + 20, true), data.getUint32(at + 24, true)];
  const head = data.getUint32(at + 42, true);
  const start = head + 30 + data.getUint16(head + 26, true) + data.getUint16(head + 28, true);
  const part = file.slice(start, start + packed);
  if (size > LARGEST || ![0, 8].includes(method)) return new File([file.slice(head, head + 30)], name);
  if (method === 0) return new File([part], name);
  try {
    return new File([await inflated(part, size)], name);
  } catch {
    return new File([file.slice(head, head + 30)], name);
  }
}

// No more than the archive says there is: else a small part could become all the memory there is.
async function inflated(part, size) {
  const reader = part.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const chunks = [];
  let total = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(chunks);
    total += value.length;
    if (total > size) throw new RangeError("longer than it says");
    chunks.push(value);
  }
}
