"use strict";
// The filter of each list of queries. Without this script every query shows.
for (const list of document.querySelectorAll(".queries")) {
  const form = list.querySelector("form");
  const cards = [...list.querySelectorAll(".card")];
  const groups = [...list.querySelectorAll(".group")];
  const opened = new Set();

  const fits = (card) =>
    ["group", "identity", "camera"].every((name) => {
      const wanted = form.elements[name]?.value ?? "";
      return wanted === "" || card.dataset[name] === wanted;
    }) && !(form.elements.failed.checked && card.dataset.failed !== "yes");

  const filtering = () =>
    form.elements.failed.checked || [...form.querySelectorAll("select")].some((s) => s.value !== "");

  const update = () => {
    for (const group of groups) {
      const found = [...group.querySelectorAll(".card")].filter(fits);
      const most = filtering() || opened.has(group) ? Infinity : Number(group.dataset.first);
      for (const card of group.querySelectorAll(".card")) card.hidden = true;
      for (const card of found.slice(0, most)) card.hidden = false;
      group.hidden = found.length === 0;
      const more = group.querySelector(".more");
      more.hidden = found.length <= most;
      more.textContent = `Show all ${found.length}`;
    }
    const count = cards.filter(fits).length;
    form.querySelector("output").textContent = `${count} of ${cards.length} queries`;
  };

  for (const group of groups) {
    group.querySelector(".more").addEventListener("click", () => {
      opened.add(group);
      update();
    });
  }
  form.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    opened.clear();
    setTimeout(update); // after the fields have changed
  });
  update();
}
