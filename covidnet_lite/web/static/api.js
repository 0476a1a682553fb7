// The server's answers. The token stays in this browser session; an upload tells how far it is.

const BUSY = 503;
const GONE = 404;
const PATIENCE = 60; // times a busy server is asked again
const KEY = "covidnet-lite-token";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  // Whether the line or the server is to blame, so that it may go better another time.
  get passing() {
    return this.status === 0 || this.status === 408 || this.status >= 500;
  }
}

export class Api {
  #token = sessionStorage.getItem(KEY);
  #asking = null;

  // askToken: async (why) => token, called when the server wants one.
  constructor(askToken) {
    this.askToken = askToken;
  }

  about() {
    return this.#json("/v1/about");
  }

  // progress: (share) => ..., called while the film is on its way.
  async classify(file, progress) {
    const { results } = await this.#json("/v1/classify?evidence=1&recall=1", { method: "POST", body: form(file), progress });
    return results[0];
  }

  // By the hash of the last upload, or else uploaded again.
  async picture(one, full = false) {
    const query = full ? "?full=1" : "";
    const ask = (path, options) => this.#ask(`/v1/picture${path}${query}`, options);
    const again = () => ask("", { method: "POST", body: form(one.file) });
    const answer = await (one.result?.image ? ask(`/${one.result.image}`).catch(instead(again)) : again());
    const size = ["Width", "Height"].map((side) => Number(answer.headers.get(`X-Original-${side}`)));
    return { ...graymap(await answer.arrayBuffer()), originalWidth: size[0], originalHeight: size[1] };
  }

  async thumbnail(image, side) {
    return graymap(await (await this.#ask(`/v1/picture/${image}?side=${side}`)).arrayBuffer());
  }

  review(one, fields) {
    const send = (body) => this.#json("/v1/reviews", { method: "POST", body });
    const { image } = one.result;
    return send(form(null, { ...fields, image })).catch(instead(() => send(form(one.file, fields))));
  }

  reviews(image = null) {
    return this.#json(`/v1/reviews${image ? `?image=${image}` : ""}`);
  }

  async manifest() {
    return (await this.#ask("/v1/reviews/manifest.csv")).text();
  }

  async #json(path, options) {
    return (await this.#ask(path, options)).json();
  }

  async #ask(path, options = {}) {
    for (let asked = 0; ; asked += 1) {
      const shown = this.#token;
      const headers = shown ? { Authorization: `Bearer ${shown}` } : {};
      let answer;
      try {
        answer = await (options.progress ? upload(path, options, headers) : fetch(path, { ...options, headers }));
      } catch {
        throw new ApiError(0, "The server does not answer. Is it still running?");
      }
      if (answer.ok) return answer;
      if (answer.status === 401) {
        if (shown === this.#token) await this.#askAgain(shown);
      } else if (answer.status === BUSY && asked < PATIENCE) {
        await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(answer.headers.get("Retry-After")) || 1)));
      } else {
        throw new ApiError(answer.status, await reason(answer));
      }
    }
  }

  // Once, however many requests wait for it.
  async #askAgain(shown) {
    this.#asking ??= this.askToken(shown ? "That token is not the right one." : "");
    this.#token = await this.#asking;
    this.#asking = null;
    sessionStorage.setItem(KEY, this.#token);
  }
}

// fetch does not tell how far an upload is.
function upload(path, { method, body, progress }, headers) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "arraybuffer";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded, total }) => progress(total ? loaded / total : 0));
    request.addEventListener("error", () => reject(new TypeError("no answer")));
    request.addEventListener("load", () => {
      const after = request.getResponseHeader("Retry-After");
      const told = after ? { "Retry-After": after } : {};
      resolve(new Response(request.response, { status: request.status, headers: told }));
    });
    request.send(body);
  });
}

const instead = (action) => (error) => {
  if (error.status !== GONE) throw error;
  return action();
};

function form(file, fields = {}) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  if (file) data.append("file", file, file.name || "pasted.png");
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
