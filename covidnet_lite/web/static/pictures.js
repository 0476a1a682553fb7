// The pictures of the films seen last; no other place keeps films.

const REMEMBERED = 8;

export class Pictures {
  #kept = new Map(); // case -> promise of a picture, the one seen last at the end

  constructor(api) {
    this.api = api;
  }

  // Asked for once, however often it is shown while it is on its way.
  of(one) {
    const picture = this.#kept.get(one) ?? this.api.picture(one);
    this.keep(one, picture);
    picture.catch(() => this.#kept.delete(one));
    return picture;
  }

  // With every pixel there is.
  async inFull(one) {
    const picture = await this.api.picture(one, true);
    this.keep(one, Promise.resolve(picture));
    return picture;
  }

  keep(one, picture) {
    this.#kept.delete(one);
    this.#kept.set(one, picture);
    while (this.#kept.size > REMEMBERED) this.#kept.delete(this.#kept.keys().next().value);
  }

  clear() {
    this.#kept.clear();
  }
}
