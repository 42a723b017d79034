// Makes what the mouse reaches reachable by keyboard.

// What scrolls sideways takes the focus, so that the arrow keys can scroll it.
function scrollable() {
  for (const box of document.querySelectorAll("pre, .table-wrapper, mjx-container")) {
    if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  }
}
window.addEventListener("load", scrollable);
window.addEventListener("resize", scrollable);
document.addEventListener("toggle", scrollable, true);

// The two drawers of a narrow page open by checkboxes that are not shown.
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
