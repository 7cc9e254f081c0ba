// Sorts a table by the column whose heading is pressed, and hides rows that lack the words typed.
document.querySelectorAll("table.sortable").forEach(table => {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const number = head.hasAttribute("data-number");
    const before = head.getAttribute("aria-sort");
    const rising = before ? before === "descending" : !number;
    const key = row => number ? parseFloat(row.cells[column].dataset.value)
                              : row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b);
      if (!number) return rising ? x.localeCompare(y) : y.localeCompare(x);
      // What has no value stands last either way.
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return rising ? x - y : y - x;
    });
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    body.append(...rows);
  }));
});
document.querySelectorAll("input[type=search]").forEach(input => {
  input.hidden = false;
  const rows = document.getElementById(input.getAttribute("aria-controls")).tBodies[0].rows;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(words);
  });
});
