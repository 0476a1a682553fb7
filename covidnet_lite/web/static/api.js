// The server's answers. The token stays in memory: a new page asks for it again.

const BUSY = 503;
const PATIENCE = 60; // times a busy server is asked again

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Api {
  #token = null;

  // askToken: async (why) => token, called when the server wants one.
  constructor(askToken) {
    this.askToken = askToken;
  }

  about() {
    return this.#json("/v1/about");
  }

  async classify(file) {
    const { results } = await this.#json("/v1/classify?evidence=1", { method: "POST", body: form(file) });
    return results[0];
  }

  async picture(file, full = false) {
    const answer = await this.#ask(`/v1/picture${full ? "?full=1" : ""}`, { method: "POST", body: form(file) });
    const size = ["Width", "Height"].map((side) => Number(answer.headers.get(`X-Original-${side}`)));
    return { ...graymap(await answer.arrayBuffer()), originalWidth: size[0], originalHeight: size[1] };
  }

  review(file, fields) {
    return this.#json("/v1/reviews", { method: "POST", body: form(file, fields) });
  }

  reviews() {
    return this.#json("/v1/reviews");
  }

  async manifest() {
    return (await this.#ask("/v1/reviews/manifest.csv")).text();
  }

  async #json(path, options) {
    return (await this.#ask(path, options)).json();
  }

  async #ask(path, options = {}) {
    for (let asked = 0; ; asked += 1) {
      const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
      let answer;
      try {
        answer = await fetch(path, { ...options, headers });
      } catch {
        throw new ApiError(0, "The server does not answer. Is it still running?");
      }
      if (answer.ok) return answer;
      if (answer.status === 401) {
        this.#token = await this.askToken(this.#token ? "That token is not the right one." : "");
      } else if (answer.status === BUSY && asked < PATIENCE) {
        await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(answer.headers.get("Retry-After")) || 1)));
      } else {
        throw new ApiError(answer.status, await reason(answer));
      }
    }
  }
}

function form(file, fields = {}) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  data.append("file", file, file.name || "pasted.png");
  return data;
}

async function reason(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

// Portable Graymap, binary, one byte a pixel: "P5", width, height, 255, then the pixels.
export function graymap(buffer) {
  const head = new TextDecoder("latin1").decode(buffer.slice(0, 64));
  const found = /^P5\s+(\d+)\s+(\d+)\s+255\s/.exec(head);
  if (!found) throw new ApiError(0, "The server sent no picture.");
  const [width, height] = [Number(found[1]), Number(found[2])];
  return { width, height, pixels: new Uint8Array(buffer, found[0].length, width * height) };
}
