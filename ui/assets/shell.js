// Remembers language and colour scheme, on every page.
(() => {
  const SCHEME = "zhufu_scheme";
  const lang = location.pathname.startsWith("/en") ? "en" : "zh";
  document.documentElement.lang = lang === "en" ? "en" : "zh-CN";

  const paint = () => {
    const wish = localStorage.getItem(SCHEME);
    if (wish) document.body.classList.toggle("dark", wish === "dark");
  };
  // Gradio sets the scheme itself when it mounts; the reader's choice has the last word.
  const watch = () => {
    paint();
    new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  };
  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", watch);

  // On a phone the navigation scrolls sideways: show where one is. Gradio renders the header late.
  const header = new MutationObserver(() => {
    const here = document.querySelector('.zf-nav a[aria-current="page"]');
    if (!here) return;
    header.disconnect();
    here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.offsetLeft - 60;
  });
  header.observe(document.documentElement, { childList: true, subtree: true });

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("[data-zf-lang]");
    if (link) document.cookie = `zhufu_lang=${link.dataset.zfLang};path=/;max-age=31536000;samesite=lax`;
    if (event.target.closest?.("[data-zf-theme]")) {
      localStorage.setItem(SCHEME, document.body.classList.contains("dark") ? "light" : "dark");
      paint();
    }
  });
})();
