// Remembers language, colour scheme and guides that were read, on every page; opens the menu of a narrow screen.
(() => {
  const SCHEME = "zhufu_scheme";
  const GUIDE = `zhufu_guide_${location.pathname.split("/")[2] || "home"}`;
  const html = document.documentElement;
  if (!html.lang) html.lang = "zh-CN";
  // Gradio's own words follow the browser's language; a page speaks one.
  Object.defineProperty(navigator, "language", { get: () => html.lang, configurable: true });
  html.classList.toggle("zf-guide-read", localStorage.getItem(GUIDE) !== null);

  const paint = () => {
    const wish = localStorage.getItem(SCHEME);
    // Pages of the documentation have no Gradio that would follow the system.
    const dark = wish ? wish === "dark" : !window.gradio_config && matchMedia("(prefers-color-scheme: dark)").matches;
    if (wish || dark) document.body.classList.toggle("dark", dark);
  };
  // Gradio sets the scheme itself when it mounts; the reader's choice has the last word.
  const watch = () => {
    paint();
    new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  };
  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", watch);

  // The style sheet shows and hides the guide by classes of <html>: no flash while Gradio renders.
  const guideIsOpen = () => Boolean(document.getElementById("zf-guide")?.offsetParent);
  const showGuide = (open) => {
    html.classList.toggle("zf-guide-open", open);
    html.classList.toggle("zf-guide-read", !open);
    if (!open) localStorage.setItem(GUIDE, "read");
    document.querySelector("[data-zf-guide]")?.setAttribute("aria-expanded", String(open));
    if (open) document.getElementById("zf-guide").scrollIntoView({ block: "nearest" });
  };
  const showMenu = (open) => {
    const button = document.querySelector("[data-zf-menu]");
    if (!button) return;
    button.closest(".zf-bar").classList.toggle("zf-menu-open", open);
    button.setAttribute("aria-expanded", String(open));
  };

  document.addEventListener("click", (event) => {
    const on = (selector) => event.target.closest?.(selector);
    const link = on("[data-zf-lang]");
    if (link) document.cookie = `zhufu_lang=${link.dataset.zfLang};path=/;max-age=31536000;samesite=lax`;
    if (on("[data-zf-theme]")) {
      localStorage.setItem(SCHEME, document.body.classList.contains("dark") ? "light" : "dark");
      paint();
    }
    if (on("[data-zf-guide]")) showGuide(!guideIsOpen());
    if (on("[data-zf-guide-close]")) showGuide(false);
    const menu = on("[data-zf-menu]");
    if (menu) showMenu(menu.getAttribute("aria-expanded") !== "true");
    else if (!on(".zf-nav")) showMenu(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") showMenu(false);
  });
})();
