// Remembers language and colour scheme, on every page.
(() => {
  const SCHEME = "zhufu_scheme";
  const paint = () => {
    const wish = localStorage.getItem(SCHEME);
    if (wish) document.body.classList.toggle("dark", wish === "dark");
  };
  const remember = (lang) => {
    document.cookie = `zhufu_lang=${lang};path=/;max-age=31536000;samesite=lax`;
  };
  const lang = location.pathname.startsWith("/en") ? "en" : "zh";
  document.documentElement.lang = lang === "en" ? "en" : "zh-CN";
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("[data-zf-lang]");
    if (link) remember(link.dataset.zfLang);
    if (event.target.closest?.("[data-zf-theme]")) {
      const dark = document.body.classList.toggle("dark");
      localStorage.setItem(SCHEME, dark ? "dark" : "light");
    }
  });
  // Gradio sets the scheme itself when it mounts; the reader's choice has the last word.
  document.addEventListener("DOMContentLoaded", paint);
  new MutationObserver(paint).observe(document.documentElement, { childList: true, subtree: false });
  window.addEventListener("load", () => { paint(); setTimeout(paint, 600); });
})();
