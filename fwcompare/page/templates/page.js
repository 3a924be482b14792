"use strict";
// Draws the figures when they come near the screen, in the colours of the reader's scheme.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const plots = read("plots");
  const palettes = read("palettes");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const printWidthPixels = 660;
  const shown = new Set();

  // Plotly knows no variables of a style sheet: put the colours in their place.
  const coloured = (value, palette) => {
    if (typeof value === "string") {
      const name = /^var\(--([\w-]+)\)$/.exec(value);
      return name && name[1] in palette ? palette[name[1]] : value;
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, palette));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [key, coloured(item, palette)]),
      );
    }
    return value;
  };

  const draw = (place, scheme, width) => {
    const plot = coloured(plots[place.id], palettes[scheme]);
    if (width) Object.assign(plot.layout, { width, autosize: false });
    window.Plotly.react(place, plot.data, plot.layout, {
      displayModeBar: false,
      responsive: !width,
    });
  };
  const scheme = () => (dark.matches ? "dark" : "light");
  const places = [...document.querySelectorAll(".plot")];
  if (!window.Plotly || !places.length) return;

  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        shown.add(target);
        draw(target, scheme());
      }
    },
    { rootMargin: "600px" },
  );
  places.forEach((place) => near.observe(place));

  dark.addEventListener("change", () => shown.forEach((place) => draw(place, scheme())));
  window.addEventListener("beforeprint", () =>
    places.forEach((place) => draw(place, "light", printWidthPixels)),
  );
  window.addEventListener("afterprint", () => {
    places.forEach((place) => {
      near.unobserve(place);
      shown.add(place);
      draw(place, scheme());
    });
  });
})();
