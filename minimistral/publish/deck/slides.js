// Splits what a lesson puts on one slide over as many as it needs, then starts reveal.js.
// Sizes are known only here, because they depend on the fonts of this computer.

(() => {
  const MAX_CODE_LINES = 12; // per slide, without blank ones
  const CODE_WIDTH = 0.61; // of a letter, in font sizes; slightly more than any font needs

  const lines = (pre) => pre.textContent.trimEnd().split("\n");
  const isHeading = (node) => /^H[123]$/.test(node.tagName);
  const overflows = (node) => node.scrollHeight > node.clientHeight || node.scrollWidth > node.clientWidth;

  const begun = (cells) => cells.some((cell) => cell.blocks.some((block) => !isHeading(block)));

  function make(tag, className, ...children) {
    const node = document.createElement(tag);
    node.className = className;
    node.append(...children);
    return node;
  }

  // The cells of a slide, each as a list of blocks: paragraphs, tables, code. A block appears when
  // its cell does.
  function takeCells(section) {
    return [...section.querySelectorAll(":scope > .cell")].map((cell) => {
      cell.remove();
      const blocks = [...cell.children];
      if (cell.classList.contains("fragment")) {
        for (const block of blocks) {
          block.classList.add("fragment");
          block.dataset.fragmentIndex = cell.dataset.fragmentIndex;
        }
      }
      return { kind: cell.dataset.kind, blocks };
    });
  }

  // Fills one slide after another.
  class Filler {
    constructor(section) {
      this.section = section;
      this.notes = section.querySelector(":scope > aside");
      this.begin();
    }

    begin() {
      this.running = make("p", "running", this.section.dataset.heading);
      this.page = make("div", "page", this.running);
      this.section.prepend(this.page);
      this.cells = [];
    }

    next() {
      const section = make("section", "");
      section.dataset.heading = this.section.dataset.heading;
      if (this.notes) section.append(this.notes.cloneNode(true));
      this.section.after(section);
      this.section = section;
      this.begin();
    }

    fits() {
      const first = this.running.nextElementSibling;
      this.running.hidden = first !== null && isHeading(first); // one heading is enough
      const code = [...this.page.querySelectorAll("pre.code")].flatMap(lines).filter((line) => line.trim());
      if (code.length > MAX_CODE_LINES) return false;
      if (this.page.querySelector(".mm-host") && this.page.querySelector("pre, table, figure")) return false;
      return !overflows(this.page);
    }

    put(cells) {
      for (const cell of cells) this.page.append(...cell.blocks);
      this.cells.push(...cells);
    }

    takeBack(n) {
      const cells = n ? this.cells.splice(-n) : [];
      for (const cell of cells) for (const block of cell.blocks) block.remove();
      return cells;
    }

    tryAll(cells) {
      this.put(cells);
      if (this.fits()) return true;
      this.takeBack(cells.length);
      this.fits();
      return false;
    }

    // How many cells to move to the new slide as well: an output or a remark stays with its code.
    along(cell) {
      const code = this.cells.findLastIndex((candidate) => candidate.kind === "code");
      const stays = cell.kind === "code" || code < 0 || !begun(this.cells.slice(0, code));
      return stays ? 0 : this.cells.length - code;
    }

    // A cell is split only if no slide can hold it.
    add(cell) {
      if (this.tryAll([cell])) return;
      if (begun(this.cells) && !cell.blocks.some(isHeading)) {
        for (const n of new Set([this.along(cell), 0])) {
          const before = { ...this };
          const moved = this.takeBack(n);
          this.next();
          if (this.tryAll([...moved, cell])) return;
          if (n === 0) break;
          this.section.remove(); // too much for one slide
          Object.assign(this, before);
          this.put(moved);
        }
      }
      for (const block of cell.blocks) this.addBlock({ kind: cell.kind, blocks: [block] });
    }

    addBlock(cell) {
      if (this.tryAll([cell])) return;
      if (begun(this.cells)) {
        this.next();
        if (this.tryAll([cell])) return;
      }
      const [block] = cell.blocks;
      const rest = block.matches("pre.out") ? this.splitLines(cell) : this.splitItems(cell);
      if (rest) this.addBlock({ kind: cell.kind, blocks: [rest] });
    }

    // As many items or rows of a block as fit stay here. Returns the rest, or null if it has no parts.
    splitItems(cell) {
      const [block] = cell.blocks;
      const parts = { UL: ":scope > li", OL: ":scope > li", TABLE: ":scope > tbody > tr" }[block.tagName];
      const rest = block.cloneNode(true);
      this.put([cell]);
      if (!parts || block.querySelectorAll(parts).length < 2) return null; // a test reports the overflow
      const [here, there] = [block, rest].map((node) => [...node.querySelectorAll(parts)]);
      let kept = here.length;
      while (kept > 1 && !this.fits()) here[--kept].remove();
      there.slice(0, kept).forEach((item) => item.remove());
      if (block.tagName === "OL") rest.start = block.start + kept;
      return rest;
    }

    splitLines(cell) {
      const [block] = cell.blocks;
      const all = lines(block);
      const rest = block.cloneNode(false);
      this.put([cell]);
      let kept = all.length;
      while (kept > 1 && !this.fits()) block.textContent = all.slice(0, --kept).join("\n");
      rest.textContent = all.slice(kept).join("\n");
      return kept < all.length ? rest : null;
    }
  }

  // A slide that would start empty shows its first step immediately.
  function showFirst(page) {
    const blocks = [...page.querySelectorAll(":scope > :not(.running)")];
    if (!blocks.length || !blocks[0].classList.contains("fragment")) return;
    const step = blocks[0].dataset.fragmentIndex;
    for (const block of blocks.filter((other) => other.dataset.fragmentIndex === step)) {
      block.classList.remove("fragment");
      delete block.dataset.fragmentIndex;
    }
  }

  // Larger text where everything still fits and no line of code wraps.
  function enlarge(page) {
    if (page.querySelector(".mm-host, figure")) return;
    page.classList.add("large");
    const broken = [...page.querySelectorAll("pre")].some((pre) => {
      const style = getComputedStyle(pre);
      const room = pre.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      const longest = Math.max(...lines(pre).map((line) => line.length));
      return longest * CODE_WIDTH * parseFloat(style.fontSize) > room;
    });
    if (broken || overflows(page)) page.classList.remove("large");
  }

  // Shows the longest texts of a player, for measuring. Returns a function that restores its texts.
  function showLongest(host) {
    const state = JSON.parse(host.querySelector("script[type='application/json']").textContent);
    const longest = (texts) => texts.reduce((most, text) => (text.length > most.length ? text : most), "");
    const rows = state.frames.flatMap(([svg]) => [...svg.matchAll(/aria-label="([^"]*)"/g)]);
    const texts = [
      [host.querySelector(".mm-words"), longest(state.frames.map((frame) => frame[1]))],
      [host.querySelector(".mm-detail"), longest(rows.map((match) => match[1]))],
    ].filter(([node]) => !node.hidden);
    const before = texts.map(([node]) => node.textContent);
    for (const [node, text] of texts) node.textContent = text;
    return () => texts.forEach(([node], n) => { node.textContent = before[n]; });
  }

  function fillSlides() {
    document.body.classList.add("measuring");
    const restore = [...document.querySelectorAll(".mm-live")].map(showLongest);
    for (const section of document.querySelectorAll(".slides > section > section")) {
      const cells = takeCells(section);
      const filler = new Filler(section);
      for (const cell of cells) filler.add(cell);
    }
    for (const page of document.querySelectorAll(".page")) {
      showFirst(page);
      enlarge(page);
    }
    for (const back of restore) back();
    document.body.classList.remove("measuring");
  }

  // While a player has the focus, keys control the player. Escape, or leaving the slide, ends that.
  function shareKeys() {
    const player = () => document.activeElement?.closest(".mm-player");
    const leave = () => player() && document.activeElement.blur();
    const onKey = (event) => {
      if (event.key !== "Escape" || !player()) return;
      leave();
      event.stopPropagation();
    };
    document.addEventListener("keydown", onKey, true);
    Reveal.on("slidechanged", leave);
  }

  // Players start on their own, as modules; until then their sizes are unknown.
  async function playersStarted() {
    const deadline = performance.now() + 10000;
    while (document.querySelector(".mm-host:not(.mm-live)") && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async function start() {
    if (window.MathJax) await MathJax.startup.promise;
    // A browser may refuse fonts for a page that was opened as a file, and use others.
    await Promise.allSettled([...document.fonts].map((font) => font.load()));
    await Promise.allSettled([...document.images].map((image) => image.decode()));
    await playersStarted();
    fillSlides();
    const timed = document.querySelector("[data-timing]") !== null;
    await Reveal.initialize({
      width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none", backgroundTransition: "none",
      navigationMode: "linear", slideNumber: "c/t", scrollActivationWidth: null,
      plugins: [RevealNotes, RevealZoom],
      ...(timed ? { defaultTiming: 0 } : {}),
    });
    shareKeys();
  }

  start();
})();
