// Sorts tables by their headings: numbers from high to low first, words from A to Z, empty cells always last.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const number = head.classList.contains("number");
    const now = head.getAttribute("aria-sort");
    const down = now === "none" ? number : now === "ascending";
    heads.forEach(other => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.sort;
    const order = (a, b) => number ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
    [...body.rows].sort((a, b) => key(a) === "" || key(b) === "" ? (key(a) === "") - (key(b) === "")
      : (down ? -1 : 1) * order(key(a), key(b))).forEach(row => body.append(row));
  }));
}
