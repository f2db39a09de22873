// The widgets of a page, without a kernel: a network from the positions of its sliders to its
// picture runs in the browser. Nothing is loaded before a widget is nearly in sight.

const base = new URL(".", import.meta.url);
let runtime; // onnxruntime-web, once for all widgets of a page

function loadRuntime() {
  runtime ??= startRuntime();
  return runtime;
}

async function startRuntime() {
  const [ort, binary] = await Promise.all([
    import(new URL("ort/ort.wasm.min.mjs", base)),
    unpacked(new URL("ort/ort-wasm-simd-threaded.wasm.gz", base)),
  ]);
  ort.env.wasm.numThreads = 1; // threads need headers that a plain server does not send
  ort.env.wasm.wasmPaths = new URL("ort/", base).href;
  ort.env.wasm.wasmBinary = binary;
  return ort;
}

async function unpacked(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.buffer; // a server has unpacked it
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function loadNetwork(address) {
  const [ort, network] = await Promise.all([loadRuntime(), unpacked(address)]);
  return ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
}

function make(tag, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

// A slider: its name, its track, and what it says.
function makeSlider(control, changed) {
  const input = make("input", { type: "range", min: control.min, max: control.max });
  Object.assign(input, { step: control.step, value: control.value, ariaLabel: control.name });
  const output = make("output");
  const words = () => {
    if (control.words) return control.words[input.valueAsNumber];
    const number = input.valueAsNumber * (control.percent ? 100 : 1);
    return number.toFixed(control.digits) + (control.percent ? "%" : control.degrees ? "°" : "");
  };
  const say = () => {
    output.textContent = words();
    input.setAttribute("aria-valuetext", words());
  };
  const set = (value) => {
    input.value = value;
    say();
  };
  input.addEventListener("input", () => {
    say();
    changed();
  });
  say();
  const row = make("label", { className: "dvae-slider" }, make("span", {}, control.name), input, output);
  return { name: control.name, row, set, words, start: control.value, at: () => input.valueAsNumber };
}

// One network with its sliders and its picture.
class View {
  constructor(ort, choice, session, still) {
    Object.assign(this, { ort, choice, session });
    this.canvas = make("canvas", { className: "dvae-picture" });
    this.canvas.setAttribute("role", "img");
    this.canvas.style.width = `${still.width}px`;
    this.titles = make("div", { className: "dvae-titles" });
    this.sliders = choice.controls.map((control, k) => makeSlider(control, () => this.moved(k)));
    const rows = this.sliders.map((slider) => slider.row);
    if (choice.resets) rows.push(this.makeReset());
    this.element = make(
      "div",
      { className: "dvae-view" },
      make("div", { className: "dvae-controls" }, ...rows),
      make("div", {}, this.titles, this.canvas),
    );
  }

  makeReset() {
    const title = "back to the code of the picked image";
    const button = make("button", { type: "button", textContent: "reset", title });
    button.addEventListener("click", () => this.moved(0));
    return button;
  }

  moved(k) {
    const { resets, alone } = this.choice;
    const [first, ...others] = this.sliders;
    if (resets && k === 0) resets[first.at()].forEach((value, j) => others[j].set(value));
    if (alone) this.sliders.forEach((slider, j) => j === k || slider.set(slider.start));
    return this.draw();
  }

  // Positions that were overtaken while a picture was made are left out.
  async draw() {
    this.late = true;
    if (this.busy) return;
    this.busy = true;
    while (this.late) {
      this.late = false;
      const at = Float32Array.from(this.sliders, (slider) => slider.at());
      const { picture } = await this.session.run({ at: new this.ort.Tensor("float32", at, [at.length]) });
      this.paint(picture);
      this.describe();
    }
    this.busy = false;
  }

  paint({ dims: [height, width], data }) {
    const pixels = new ImageData(width, height);
    for (let from = 0, to = 0; from < data.length; from += 3, to += 4) {
      pixels.data[to] = data[from];
      pixels.data[to + 1] = data[from + 1];
      pixels.data[to + 2] = data[from + 2];
      pixels.data[to + 3] = 255;
    }
    if (this.canvas.width !== width || this.canvas.height !== height) {
      Object.assign(this.canvas, { width, height });
    }
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  describe() {
    const said = new Map(this.sliders.map((slider) => [slider.name, slider]));
    const filled = this.choice.titles.map((title) =>
      title.replace(/\{(\w+)(%?)\}/g, (_, name, percent) =>
        percent ? `${Math.round(100 * said.get(name).at())} %` : said.get(name).words(),
      ),
    );
    this.titles.replaceChildren(...filled.map((words) => make("span", {}, words)));
    const all = this.sliders.map((slider) => `${slider.name} ${slider.words()}`).join(", ");
    this.canvas.setAttribute("aria-label", `${this.choice.alt} at ${all}`);
    this.canvas.dataset.drawn = Number(this.canvas.dataset.drawn ?? 0) + 1;
  }
}

// A widget: buttons that choose a network, if there are several, above its view.
async function enliven(box) {
  const ready = loadRuntime(); // meanwhile
  const { choices } = await (await fetch(box.dataset.about)).json();
  const still = box.querySelector("img");
  const views = new Map();
  const words = box.querySelector("figcaption");
  const place = make("div");
  let wanted; // the last to be chosen, whichever is loaded last
  const show = async (choice) => {
    wanted = choice;
    if (!views.has(choice)) {
      const session = await loadNetwork(choice.network);
      const view = new View(await ready, choice, session, still);
      await view.draw();
      views.set(choice, view);
    }
    if (wanted !== choice) return;
    place.replaceChildren(views.get(choice).element);
    words.textContent = choice.words;
  };
  await show(choices[0]);
  const choose = (choice) => show(choice).catch((error) => explain(box, error));
  const buttons = choices.length > 1 ? [makeButtons(choices, choose, box.dataset.about)] : [];
  still.replaceWith(...buttons, place);
  box.classList.add("dvae-ready");
}

function makeButtons(choices, choose, name) {
  const group = make("div", { className: "dvae-choices" });
  group.setAttribute("role", "radiogroup");
  group.setAttribute("aria-label", "model");
  choices.forEach((choice, k) => {
    const input = make("input", { type: "radio", name, checked: k === 0 });
    input.addEventListener("change", () => choose(choice));
    group.append(make("label", {}, input, make("span", {}, choice.label)));
  });
  return group;
}

function explain(box, error) {
  console.warn(error);
  box.querySelector("figcaption").textContent =
    "A still picture of the widget: this browser could not run its network.";
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      near.unobserve(target);
      enliven(target).catch((error) => explain(target, error));
    }
  },
  { rootMargin: "800px" },
);
document.querySelectorAll(".dvae-live").forEach((box) => near.observe(box));
