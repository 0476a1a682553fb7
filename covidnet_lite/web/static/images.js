// The decoded images of the radiographs that were viewed last.

const CAPACITY = 8;

export class ImageCache {
  #images = new Map(); // entry -> promise of its image, the one viewed last at the end

  constructor(api) {
    this.api = api;
  }

  // Requests each image once, however often it is shown before it arrives.
  of(entry) {
    const image = this.#images.get(entry) ?? this.api.image(entry);
    this.#store(entry, image);
    image.catch(() => this.#images.delete(entry));
    return image;
  }

  // With all its pixels.
  async inFull(entry) {
    const image = await this.api.image(entry, true);
    this.#store(entry, Promise.resolve(image));
    return image;
  }

  clear() {
    this.#images.clear();
  }

  #store(entry, image) {
    this.#images.delete(entry);
    this.#images.set(entry, image);
    while (this.#images.size > CAPACITY) this.#images.delete(this.#images.keys().next().value);
  }
}
