// Shows frames that Python drew. It knows no rule of the model: it picks a frame and shows it.

const PLAY_MS = 700;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// still: the page has no Python.
function render({ model, el, still = false }) {
  const sliders = model.get("sliders");
  let active = 0; // the slider that play and the arrow keys move
  let row = 0; // the row of the picture that the keyboard is on
  let timer = null;

  const inputs = [];
  const outputs = [];
  const controls = make("div", { class: "mm-controls" });
  sliders.forEach((slider, s) => {
    const input = make("input", {
      type: "range", min: 0, max: slider.labels.length - 1, step: 1, "aria-label": slider.name,
    });
    const longest = Math.max(...slider.labels.map((label) => label.length));
    const output = make("output", { class: "mm-value", style: `min-width: ${longest}ch` }); // Play must not jump
    input.addEventListener("input", () => { active = s; stop(); move(s, Number(input.value)); });
    input.addEventListener("focus", () => { active = s; nameActive(); });
    inputs.push(input);
    outputs.push(output);
    controls.append(make("label", {}, make("span", { class: "mm-name" }, slider.name), input, output));
  });
  const button = make("button", { type: "button", class: "mm-play" });
  button.addEventListener("click", () => (timer === null ? play() : stop()));
  controls.append(button);

  // A text that the learner types is drawn by Python, so a page without it says where one can type.
  const box = model.get("box") && !still ? make("textarea", { rows: 2, maxlength: 400, spellcheck: false }) : null;
  if (box) {
    box.value = model.get("typed");
    box.addEventListener("input", type);
    controls.append(make("label", { class: "mm-box" }, make("span", { class: "mm-name" }, model.get("box")), box));
  } else if (model.get("box")) {
    controls.append(make("p", { class: "mm-note" }, "Typing a text of your own needs Python: open this lesson in JupyterLab."));
  }

  const stage = make("div", { class: "mm-stage" });
  const words = make("p", { class: "mm-words", role: "status" });
  const detail = make("p", { class: "mm-detail", role: "status" });
  const figure = make(
    "div",
    { class: "mm-player", role: "group", "aria-label": model.get("title") },
    make("p", { class: "mm-title" }, model.get("title")), controls, words, stage, detail,
  );
  el.append(figure);

  function place(index) {
    return index.reduce((at, i, s) => at * sliders[s].labels.length + i, 0);
  }

  // What is typed goes to Python, and the first slider to the first of its values that show it.
  function type() {
    stop();
    model.set("typed", box.value);
    const perValue = sliders.slice(1).reduce((n, slider) => n * slider.labels.length, 1);
    const first = sliders[0].labels.length - model.get("own").length / perValue;
    move(0, Math.max(first, model.get("index")[0]));
    model.save_changes();
  }

  function showTyped() {
    if (box && box !== document.activeElement) box.value = model.get("typed");
  }

  function rows() {
    return [...stage.querySelectorAll(".mm-row")];
  }

  function draw() {
    const index = model.get("index");
    const hadFocus = stage.contains(document.activeElement);
    const [svg, sentence] = [...model.get("frames"), ...model.get("own")][place(index)];
    stage.innerHTML = svg;
    words.textContent = sentence;
    index.forEach((i, s) => {
      inputs[s].value = i;
      inputs[s].setAttribute("aria-valuetext", sliders[s].labels[i]);
      outputs[s].textContent = sliders[s].labels[i];
    });
    detail.hidden = !rows().length;
    detail.textContent = detail.hidden ? "" : "Point at a part, or go to one with Tab and ↑ ↓, to read it in words.";
    enter(row, hadFocus);
    scrollable();
  }

  // A picture wider than its place scrolls, and then the keyboard must get there.
  function scrollable() {
    if (stage.scrollWidth > stage.clientWidth) stage.setAttribute("tabindex", 0);
    else stage.removeAttribute("tabindex");
  }

  function enter(to, focus) {
    const all = rows();
    if (!all.length) return;
    row = Math.max(0, Math.min(to, all.length - 1));
    all.forEach((node, r) => node.setAttribute("tabindex", r === row ? 0 : -1));
    if (focus) all[row].focus();
  }

  function move(s, to) {
    const index = [...model.get("index")];
    const last = sliders[s].labels.length - 1;
    index[s] = Math.max(0, Math.min(to, last));
    if (index[s] === model.get("index")[s]) return;
    model.set("index", index);
    model.save_changes();
    draw();
  }

  function nameActive() {
    button.textContent = `${timer === null ? "▶ Play" : "❚❚ Pause"} ${sliders[active].name}`;
  }

  function play() {
    const last = sliders[active].labels.length - 1;
    if (model.get("index")[active] === last) move(active, 0);
    timer = setInterval(() => {
      const at = model.get("index")[active];
      if (at === last || !figure.isConnected) stop();
      else move(active, at + 1);
    }, PLAY_MS);
    nameActive();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    nameActive();
  }

  stage.addEventListener("mouseover", (event) => say(event.target));
  stage.addEventListener("focusin", (event) => {
    enter(rows().indexOf(event.target), false); // a click takes the keyboard there too
    say(event.target);
  });
  function say(node) {
    const named = node.closest(".mm-row");
    if (named) detail.textContent = named.getAttribute("aria-label");
  }

  figure.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // plain keys are the player's: none is a shortcut of JupyterLab
    if (event.target === stage || event.target === box) return; // they scroll it, or are typed
    const inPicture = stage.contains(event.target);
    const at = model.get("index")[active];
    const last = sliders[active].labels.length - 1;
    const vertical = { ArrowUp: row - 1, ArrowDown: row + 1 }[event.key];
    const along = {
      ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: last,
    }[event.key]; // as on a slider
    if (inPicture && vertical !== undefined) enter(vertical, true);
    else if (event.target.type !== "range" && along !== undefined) { stop(); move(active, along); }
    else if (event.key === " " && event.target !== button) timer === null ? play() : stop();
    else return;
    event.preventDefault();
  });

  const resized = new ResizeObserver(scrollable);
  resized.observe(stage);
  const watched = [["change:index", draw], ["change:own", draw], ["change:typed", showTyped]];
  for (const [event, act] of watched) model.on(event, act);
  draw();
  nameActive();
  return () => {
    stop();
    resized.disconnect();
    for (const [event, act] of watched) model.off(event, act);
  };
}

// A page without Python: the state lies in the page, beside the picture it replaces.
function renderStatic(host) {
  const state = JSON.parse(host.querySelector("script[type='application/json']").textContent);
  const model = {
    get: (name) => state[name], set: (name, value) => { state[name] = value; },
    save_changes() {}, on() {}, off() {},
  };
  host.classList.add("mm-live");
  for (const node of host.querySelectorAll(":scope > svg, :scope > p")) node.remove();
  render({ model, el: host, still: true });
}

export default { render, renderStatic };
