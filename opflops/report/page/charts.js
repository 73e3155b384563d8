// When charts are drawn. plotly takes long to start, so it starts once the tree is on the screen and the reader pauses.
// Then charts are drawn one at a time, so that the page can react to input in between.

const PAUSE_MILLISECONDS = 300;
const UNPAINTED_MILLISECONDS = 500; // a page in the background is never painted

class Charts {
  /** @param charts pairs of an element and the function that draws it */
  constructor(charts) {
    Object.assign(this, { charts, acted: -Infinity });
    for (const kind of ["keydown", "pointerdown", "wheel"]) {
      addEventListener(kind, () => (this.acted = performance.now()), { passive: true });
    }
    for (const [element, draw] of charts) {
      onWidth(element, () => {
        if (element.hasChildNodes()) this.put(element, draw);
      });
    }
  }

  /** Draws all charts at once, since printing cannot wait. */
  drawNow() {
    this.begin();
    for (const [element, draw] of this.charts) this.put(element, draw);
  }

  async start() {
    await Promise.race([new Promise((painted) => requestAnimationFrame(painted)), passed(UNPAINTED_MILLISECONDS)]);
    await passed(0);
    while (performance.now() - this.acted < PAUSE_MILLISECONDS) await passed(PAUSE_MILLISECONDS);
    this.begin();
    await passed(0);
    await this.draw();
  }

  /** Runs plotly's script, which the page contains as text. */
  begin() {
    if (this.begun) return;
    this.begun = true;
    const library = document.getElementById("plotly");
    library.replaceWith(made("script", {}, library.textContent));
    this.able = typeof Plotly !== "undefined";
  }

  /** Draws the first chart, then the others, unless another redraw begins before that. */
  async draw() {
    if (!this.begun) return;
    const turn = (this.turn = {});
    for (const [index, [element, draw]] of this.charts.entries()) {
      if (index) await passed(0);
      if (turn !== this.turn) return;
      this.put(element, draw);
    }
  }

  /** Draws only the first chart. */
  drawFirst() {
    if (this.begun) this.put(...this.charts[0]);
  }

  put(element, draw) {
    element.removeAttribute("aria-busy");
    if (this.able) draw();
    else element.textContent = "Charts are missing: plotly did not start in this browser.";
  }
}

function passed(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}
