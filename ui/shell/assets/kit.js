// Small pieces that the pages of our own script share: elements, words, calls that fail politely.
(() => {
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  function h(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "on") for (const [name, handler] of Object.entries(value)) node.addEventListener(name, handler);
      else if (value === true) node.setAttribute(key, "");
      else if (value !== false && value != null) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child != null && child !== false));
    return node;
  }

  // The server has answered and will not: `words` says why, in both languages.
  class Refused extends Error {
    constructor(status, words) { super(words.en); this.status = status; this.words = words; }
  }

  // The server has answered that it cannot now; the same request may succeed in `seconds` (null: unknown).
  class Unavailable extends Error {
    constructor(status, words, seconds) { super(words.en); this.status = status; this.words = words; this.seconds = seconds; }
  }

  async function unavailable(reply) {
    const data = await reply.json().catch(() => null);
    const seconds = Number(reply.headers.get("Retry-After"));
    return data?.error ? new Unavailable(reply.status, data.error, seconds > 0 ? seconds : null) : new TypeError("server " + reply.status);
  }

  const caller = (prefix) => async (method, path, body) => {
    const reply = await fetch(prefix + path, {
      method, credentials: "same-origin",
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body ? JSON.stringify(body) : undefined,
    });
    if (reply.status >= 500) throw await unavailable(reply);
    const data = await reply.json();
    // The password is asked for again where the session has ended.
    if (data.sign_in) {
      location.assign(`${data.sign_in}?next=${encodeURIComponent(location.pathname)}`);
      return new Promise(() => {});
    }
    if (!reply.ok) throw new Refused(reply.status, data.error);
    return data;
  };

  // Gradio renders late and again: `mount` runs once on every new root that appears.
  const mounted = (id, mount) => {
    const known = new WeakSet();
    const look = () => {
      const root = document.getElementById(id);
      if (root && !known.has(root)) { known.add(root); mount(root); }
    };
    new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
    look();
  };

  window.zhufuKit = { fill, newId, wait, h, Refused, Unavailable, caller, mounted };
})();
