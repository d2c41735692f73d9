// Comfort only: the page is complete without it. Sorts and filters the table of files, opens linked sections.
"use strict";
(() => {
  const table = document.querySelector("table.files");
  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const section = target && target.closest("details");
    if (section) { section.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  open();

  if (!table) return;
  const all = [...document.querySelectorAll("details.file")];
  for (const [text, state] of [["Open all", true], ["Close all", false]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "tool";
    button.textContent = text;
    button.addEventListener("click", () => all.forEach((d) => { d.open = state; }));
    all[0].before(button, " ");
  }
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const key = (row, i) => row.cells[i].dataset.key ?? row.cells[i].textContent.trim().toLowerCase();

  [...table.tHead.rows[0].cells].forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => {
        const x = key(a, i), y = key(b, i);
        const order = i === 0 ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });

  const bar = document.createElement("p");
  bar.className = "filter";
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "search";
  label.append("Show only rows with ", input);
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  bar.append(label, said);
  table.parentElement.before(bar);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    said.textContent = words.length ? `${shown} of ${rows.length} files` : "";
  });
})();
