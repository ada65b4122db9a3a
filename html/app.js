// The panels under "Try it". Each is a form that works without this script; with it, the page shows
// the response and some information about it.
"use strict";

/** What each panel does when it is sent: gets the form and a function that shows a line. */
const tries = {
  async echo(form, show) {
    const method = form.elements.method.value;
    const body = method === "GET" ? undefined : form.elements.body.value;
    const response = await fetch(form.action, { method, body });
    show(`${response.status} ${response.statusText}`);
    for (const [name, value] of response.headers) show(`${name}: ${value}`);
    show("");
    show(await response.text());
  },

  async stream(form, show) {
    const start = performance.now();
    const response = await fetch(form.action);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      show(`${since(start).padStart(7)}  ${value.trimEnd()}`);
    }
    show(`${since(start).padStart(7)}  end of response`);
  },

  async sleep(form, show) {
    const start = performance.now();
    const sleepers = Array.from({ length: 6 }, async (_, i) => {
      // A different URL for each: browsers serialize requests for the same URL.
      const response = await fetch(`${form.action}?ms=1000&sleeper=${i + 1}`);
      await response.text();
      show(`sleeper ${i + 1}: ${response.status} after ${since(start)}`);
    });
    await Promise.all(sleepers);
    show(`six seconds of sleep took ${since(start)}`);
  },

  async fail(form, show) {
    const start = performance.now();
    const how = form.elements.how.value;
    let answered = false;
    const broken = fetch(`${form.action}?how=${how}`)
      .then((response) => `${response.status} ${response.statusText}`, () => "cut off")
      .then((status) => {
        answered = true;
        show(`/fail?how=${how}: ${status} after ${since(start)}`);
      });
    let asked = 0;
    let slowest = 0;
    do {
      const before = performance.now();
      const response = await fetch("/hello", { cache: "no-store" });
      await response.text();
      asked += 1;
      slowest = Math.max(slowest, performance.now() - before);
      await new Promise((resume) => setTimeout(resume, 50));
    } while (!answered);
    await broken;
    show(`/hello meanwhile: ${asked} requests, the slowest response took ${slowest.toFixed(1)} ms`);
  },
};

/** Formats the time since a moment. */
function since(start) {
  return `${((performance.now() - start) / 1000).toFixed(2)} s`;
}

for (const form of document.querySelectorAll("form[data-try]")) {
  const result = form.querySelector(".result");
  const button = form.querySelector("button");
  for (const scripted of form.querySelectorAll(".scripted")) {
    scripted.hidden = false;
    for (const field of scripted.querySelectorAll("[disabled]")) field.disabled = false;
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const show = (line) => {
      result.textContent += `${line}\n`;
      result.scrollTop = result.scrollHeight;
    };
    result.textContent = "";
    result.hidden = false;
    button.disabled = true;
    try {
      await tries[form.dataset.try](form, show);
    } catch (error) {
      show(`No response: ${error.message}`);
    } finally {
      button.disabled = false;
    }
  });
}
