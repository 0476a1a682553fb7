// Requests to the server. The token stays in this browser session.

const BUSY = 503;
const GONE = 404;
const UNAUTHORIZED = 401;
const MAX_RETRIES = 60; // of a request that a busy server refuses
const TOKEN_KEY = "covidnet-lite-token";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  // Whether the connection or the server caused the error, and the same request may succeed later.
  get retryable() {
    return this.status === 0 || this.status === 408 || this.status >= 500;
  }
}

export class Api {
  #token = sessionStorage.getItem(TOKEN_KEY);
  #tokenRequest = null;

  // requestToken: async (error) => token, called when the server requires one.
  constructor(requestToken) {
    this.requestToken = requestToken;
  }

  about() {
    return this.#json("/v1/about");
  }

  // onProgress: (share) => ..., called during the upload.
  async classify(file, onProgress) {
    const { results } = await this.#json("/v1/classify?evidence=1&recall=1", { method: "POST", body: form(file), onProgress });
    return results[0];
  }

  // The decoded image of an entry: by the hash of its upload, or uploaded again if the server no longer has it.
  async image(entry, full = false) {
    const query = full ? "?full=1" : "";
    const request = (path, options) => this.#request(`/v1/picture${path}${query}`, options);
    const upload = () => request("", { method: "POST", body: form(entry.file) });
    const hash = entry.result?.image;
    const response = await (hash ? request(`/${hash}`).catch(ifGone(upload)) : upload());
    const [originalWidth, originalHeight] = ["Width", "Height"].map((side) => Number(response.headers.get(`X-Original-${side}`)));
    return { ...graymap(await response.arrayBuffer()), originalWidth, originalHeight };
  }

  async thumbnail(hash, side) {
    return graymap(await (await this.#request(`/v1/picture/${hash}?side=${side}`)).arrayBuffer());
  }

  review(entry, fields) {
    const send = (body) => this.#json("/v1/reviews", { method: "POST", body });
    const { image } = entry.result;
    return send(form(null, { ...fields, image })).catch(ifGone(() => send(form(entry.file, fields))));
  }

  reviews(hash = null) {
    return this.#json(`/v1/reviews${hash ? `?image=${hash}` : ""}`);
  }

  async manifest() {
    return (await this.#request("/v1/reviews/manifest.csv")).text();
  }

  async #json(path, options) {
    return (await this.#request(path, options)).json();
  }

  async #request(path, options = {}) {
    for (let retries = 0; ; retries += 1) {
      const token = this.#token;
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      let response;
      try {
        response = await (options.onProgress ? upload(path, options, headers) : fetch(path, { ...options, headers }));
      } catch {
        throw new ApiError(0, "The server does not answer. Is it still running?");
      }
      if (response.ok) return response;
      if (response.status === UNAUTHORIZED) {
        if (token === this.#token) await this.#renewToken(token);
      } else if (response.status === BUSY && retries < MAX_RETRIES) {
        await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(response.headers.get("Retry-After")) || 1)));
      } else {
        throw new ApiError(response.status, await errorMessage(response));
      }
    }
  }

  // Opens one dialog, however many requests wait for the token.
  async #renewToken(refused) {
    this.#tokenRequest ??= this.requestToken(refused ? "The server does not accept this token." : "");
    this.#token = await this.#tokenRequest;
    this.#tokenRequest = null;
    sessionStorage.setItem(TOKEN_KEY, this.#token);
  }
}

// By XMLHttpRequest, as fetch does not report the progress of an upload.
function upload(path, { method, body, onProgress }, headers) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "arraybuffer";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total ? loaded / total : 0));
    request.addEventListener("error", () => reject(new TypeError("no response")));
    request.addEventListener("load", () => {
      const delay = request.getResponseHeader("Retry-After");
      resolve(new Response(request.response, { status: request.status, headers: delay ? { "Retry-After": delay } : {} }));
    });
    request.send(body);
  });
}

const ifGone = (action) => (error) => {
  if (error.status !== GONE) throw error;
  return action();
};

function form(file, fields = {}) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  if (file) data.append("file", file, file.name || "pasted.png");
  return data;
}

async function errorMessage(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

// Portable Graymap, binary, one byte per pixel: "P5", width, height, 255, then the pixels.
export function graymap(buffer) {
  const header = new TextDecoder("latin1").decode(buffer.slice(0, 64));
  const match = /^P5\s+(\d+)\s+(\d+)\s+255\s/.exec(header);
  if (!match) throw new ApiError(0, "The server sent no image.");
  const [width, height] = [Number(match[1]), Number(match[2])];
  return { width, height, pixels: new Uint8Array(buffer, match[0].length, width * height) };
}
