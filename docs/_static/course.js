// Makes everything that the mouse can reach reachable by keyboard.

// A box that scrolls sideways can take the focus, so that the arrow keys scroll it.
function scrollable() {
  for (const box of document.querySelectorAll("pre, .table-wrapper, mjx-container")) {
    if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  }
}
window.addEventListener("load", scrollable);
window.addEventListener("resize", scrollable);
document.addEventListener("toggle", scrollable, true);

// On a narrow page, hidden checkboxes open the two drawers.
document.addEventListener("DOMContentLoaded", () => {
  for (const [name, drawer] of [["__navigation", ".sidebar-drawer"], ["__toc", ".toc-drawer"]]) {
    const box = document.getElementById(name);
    const buttons = document.querySelectorAll(`[data-opens="${name}"]`);
    let opener = null;
    for (const button of buttons) {
      button.addEventListener("click", () => { opener = button; box.click(); });
      button.setAttribute("aria-expanded", "false");
    }
    box.addEventListener("change", () => {
      for (const button of buttons) button.setAttribute("aria-expanded", box.checked);
      const links = [...document.querySelectorAll(`${drawer} :is(a, input)`)];
      if (box.checked) links.find((link) => link.checkVisibility())?.focus();
      else opener?.focus();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && box.checked) box.click();
    });
  }
});
