// Zip archives, unpacked in the browser: each radiograph in one becomes a file "archive.zip/member".

const MAX_MEMBERS = 1000;
const MAX_SIZE = 256 * 2 ** 20; // bytes of a member
const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const [STORED, DEFLATED] = [0, 8];
const NOT_RADIOGRAPHS = /\.(txt|csv|json|md|html?|pdf|xml)$/i;

// The files, each archive replaced by its members. An archive that cannot be unpacked stays: the server reports it.
export async function unpacked(files) {
  const parts = await Promise.all(files.map((file) => (isZip(file) ? members(file).catch(() => [file]) : [file])));
  return parts.flat();
}

export function isZip(file) {
  return /\.zip$/i.test(file.name);
}

// Not for hidden files, those of macOS among them, and for text files.
export function mayBeRadiograph(path) {
  const name = path.split("/").pop();
  return name && !path.startsWith("__MACOSX/") && !name.startsWith(".") && !NOT_RADIOGRAPHS.test(name);
}

async function members(file) {
  const data = new DataView(await file.arrayBuffer());
  let end = data.byteLength - 22;
  while (end >= 0 && data.getUint32(end, true) !== END_SIGNATURE) end -= 1;
  const count = data.getUint16(end + 10, true);
  if (count > MAX_MEMBERS) return [file];
  const files = [];
  let at = data.getUint32(end + 16, true);
  for (let i = 0; i < count && data.getUint32(at, true) === ENTRY_SIGNATURE; i += 1) {
    const [name, extra, comment] = [28, 30, 32].map((offset) => data.getUint16(at + offset, true));
    const path = new TextDecoder().decode(new Uint8Array(data.buffer, at + 46, name));
    if (mayBeRadiograph(path)) files.push(await member(file, data, at, path));
    at += 46 + name + extra + comment;
  }
  return files.length ? files : [file];
}

// A member that cannot be unpacked becomes a few bytes, which the server reports as unreadable.
async function member(file, data, at, path) {
  const name = `${file.name}/${path}`;
  const [method, packedSize, size] = [data.getUint16(at + 10, true), data.getUint32(at + 20, true), data.getUint32(at + 24, true)];
  const head = data.getUint32(at + 42, true);
  const start = head + 30 + data.getUint16(head + 26, true) + data.getUint16(head + 28, true);
  const packed = file.slice(start, start + packedSize);
  const unreadable = new File([file.slice(head, head + 30)], name);
  if (size > MAX_SIZE || ![STORED, DEFLATED].includes(method)) return unreadable;
  if (method === STORED) return new File([packed], name);
  try {
    return new File([await inflated(packed, size)], name);
  } catch {
    return unreadable;
  }
}

// Stops at the size that the archive states: a small member could otherwise fill the memory.
async function inflated(packed, size) {
  const reader = packed.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const chunks = [];
  let total = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(chunks);
    total += value.length;
    if (total > size) throw new RangeError("longer than the archive states");
    chunks.push(value);
  }
}
