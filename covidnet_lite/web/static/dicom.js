// Patient, geometry and windows of a DICOM header, read in the browser: for the screen only, never sent anywhere.

const HEADER_BYTES = 1 << 18; // of the file, in which the elements are sought
const LAST_TAG = 0x20500020;
const UNDEFINED = 0xffffffff;
const [ITEM, ITEM_END, SEQUENCE_END] = [0xfffee000, 0xfffee00d, 0xfffee0dd];
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const ELEMENTS = new Map([
  [0x00020010, "syntax"], [0x00080005, "charset"], [0x00080020, "date"], [0x00080050, "accession"],
  [0x00100010, "patient"], [0x00100020, "id"], [0x00181164, "imagerSpacing"], [0x00200020, "orientation"],
  [0x00280004, "photometric"], [0x00280030, "spacing"], [0x00281050, "centres"], [0x00281051, "widths"],
  [0x00281055, "explanations"], [0x00281056, "function"], [0x00283010, "table"], [0x20500020, "shape"],
]);
const IMPLICIT = "1.2.840.10008.1.2";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const DEFLATED = "1.2.840.10008.1.2.1.99";
const CHARSETS = [
  [/192$/, "utf-8"], [/GB18030|GBK/, "gb18030"], [/IR 87|IR 159|IR 13$|_IR 13$/, "iso-2022-jp"], [/IR 149$/, "euc-kr"],
  [/101$/, "iso-8859-2"], [/109$/, "iso-8859-3"], [/110$/, "iso-8859-4"], [/144$/, "iso-8859-5"], [/127$/, "iso-8859-6"],
  [/126$/, "iso-8859-7"], [/138$/, "iso-8859-8"], [/148$/, "iso-8859-9"], [/166$/, "windows-874"],
];

// {patient, id, date, accession, orientation, spacing, atDetector, windows, whiteIsLow}, without the fields that the header lacks.
export async function headerOf(file) {
  const data = new DataView(await file.slice(0, HEADER_BYTES).arrayBuffer());
  if (data.byteLength < 136 || ascii(data, 128, 4) !== "DICM") return {};
  const values = new Map();
  try {
    new Reader(data, values).run();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // cut off or damaged: the values read so far count
  }
  return fields(values);
}

class Reader {
  constructor(data, values) {
    Object.assign(this, { data, values, at: 132, explicit: true, little: true });
  }

  run() {
    while (this.at < this.data.byteLength) {
      if (this.explicit && this.data.getUint16(this.at, true) !== 2 && !this.inDataSet) this.beginDataSet();
      const tag = this.tag();
      if (tag > LAST_TAG) return;
      this.element(tag, ELEMENTS.get(tag));
    }
  }

  // The file meta information is always explicit little endian; the data set follows its transfer syntax.
  beginDataSet() {
    this.inDataSet = true;
    const syntax = this.values.has("syntax") ? text(this.values.get("syntax"), "latin1") : "";
    this.explicit = syntax !== IMPLICIT;
    this.little = syntax !== BIG_ENDIAN;
    if (syntax === DEFLATED) this.at = this.data.byteLength;
  }

  tag() {
    const group = this.data.getUint16(this.at, this.little);
    const tag = group * 0x10000 + this.data.getUint16(this.at + 2, this.little);
    this.at += 4;
    return tag;
  }

  element(tag, name) {
    const length = this.length(tag);
    if (length === UNDEFINED) {
      if (name) this.values.set(name, new Uint8Array(1));
      this.items();
      return;
    }
    if (name && this.at + length <= this.data.byteLength) {
      this.values.set(name, new Uint8Array(this.data.buffer, this.at, length));
    }
    this.at += length;
  }

  length(tag) {
    const bare = tag === ITEM || tag === ITEM_END || tag === SEQUENCE_END;
    if (bare || !this.explicit) return this.word();
    const kind = ascii(this.data, this.at, 2);
    this.at += 2;
    if (LONG.has(kind)) {
      this.at += 2;
      return this.word();
    }
    this.at += 2;
    return this.data.getUint16(this.at - 2, this.little);
  }

  word() {
    this.at += 4;
    return this.data.getUint32(this.at - 4, this.little);
  }

  // Skips the items of a sequence without a length.
  items() {
    for (;;) {
      const tag = this.tag();
      const length = this.length(tag);
      if (tag === SEQUENCE_END) return;
      if (length !== UNDEFINED) this.at += length;
      else while (this.skipElement());
    }
  }

  // Returns false at the end of the item.
  skipElement() {
    const tag = this.tag();
    this.element(tag, undefined);
    return tag !== ITEM_END;
  }
}

function fields(values) {
  const charset = CHARSETS.find(([pattern]) => pattern.test(read(values, "charset", "latin1")))?.[1] ?? "latin1";
  const value = (name) => read(values, name, charset);
  const list = (name) => (value(name) ? value(name).split("\\").map(Number).filter(Number.isFinite) : []);
  const [centres, widths, names] = [list("centres"), list("widths"), value("explanations").split("\\")];
  const linear = !value("function").startsWith("SIGMOID") && !values.has("table");
  const shape = { INVERSE: true, IDENTITY: false }[value("shape")];
  const spacing = [list("spacing"), list("imagerSpacing")].find((pair) => pair.length === 2 && pair.every((mm) => mm > 0));
  const orientation = value("orientation").toUpperCase().split("\\").map((word) => word.trim());
  const header = {
    patient: value("patient").split("=")[0].split("^").filter(Boolean).slice(0, 2).join(", "),
    id: value("id"),
    date: value("date").replace(/^(\d{4})(\d\d)(\d\d)$/, "$1-$2-$3"),
    accession: value("accession"),
    orientation: orientation.length === 2 && orientation.every((word) => /^[LRAPHF]+$/.test(word)) ? orientation : null,
    spacing: spacing ?? null,
    atDetector: Boolean(spacing) && list("spacing").length !== 2,
    windows: linear
      ? centres.map((centre, i) => ({ centre, width: widths[i], name: names[i] ?? "" })).filter(({ width }) => width > 0)
      : [],
    whiteIsLow: shape ?? value("photometric") === "MONOCHROME1",
  };
  return Object.fromEntries(Object.entries(header).filter(([, field]) => field !== "" && field !== null));
}

const read = (values, name, charset) => (values.has(name) ? text(values.get(name), charset) : "");

const text = (bytes, charset) => new TextDecoder(charset).decode(bytes).replace(/\0/g, "").trim();

const ascii = (data, at, length) => String.fromCharCode(...Array.from({ length }, (_, i) => data.getUint8(at + i)));
