// The annotation page: name → campaign → items. One POST a label; its reply carries the next item.
(() => {
  const WORDS = {
    zh: {
      hello: "先告诉我们你的名字", helloLead: "只用来区分是谁标的，记在这台设备上。", name: "名字", start: "进入",
      pick: "选一个任务", none: "现在没有可以标的任务，请让研究者新建一个。", go: "开始标", go2: "继续标", closed: "已关闭",
      compare: "两条对比", validate: "验证裁判", each: "每题 {k} 人", items: "{finished} / {items} 题已完成",
      left: "A 更好", right: "B 更好", good: "都好", bad: "都不好", skip: "跳过", undo: "撤销",
      yes: "优秀", no: "不优秀", agree: "同意裁判", disagree: "不同意", noView: "说不准",
      prompt: "请求", why: "较弱的那条问题在哪（可不选）", dims: "分项（可不打，数字键 1–5 切换）", total: "加权总分",
      progress: "全部完成 {done} / {total}", mine: "我标了 {mine}", rest: "我还剩 {left}",
      saving: "正在保存……", saved: "已保存", undone: "已撤销，请重新选", judge: "裁判的看法",
      judgeGood: "好", judgeBad: "不好", score: "分数 {value}", reason: "为什么？（可不填，按 R 输入）",
      noJudge: "裁判没有评这一条，直接看下一条", offline: "还没保存：连不上服务器。你的选择还在，正在重试……",
      busy: "服务器正忙，还没保存。你的选择还在，稍后自动重试……", kept: "你的选择还在，稍后自动重试……",
      retry: "立刻重试", done: "这个任务里你能标的都标完了，谢谢！", doneLead: "你一共标了 {mine} 题。", others: "看看别的任务",
      who: "我是 {name}", leave: "换人", back: "任务列表", mineVerdict: "你的看法：{said}", keys: "键盘：",
    },
    en: {
      hello: "First, your name", helloLead: "Only to tell raters apart; remembered on this device.", name: "Name", start: "Enter",
      pick: "Choose a campaign", none: "Nothing to annotate at present; ask a researcher to make a campaign.", go: "Start", go2: "Go on", closed: "closed",
      compare: "Compare two", validate: "Validate the judge", each: "{k} raters an item", items: "{finished} / {items} items done",
      left: "A is better", right: "B is better", good: "Both good", bad: "Both bad", skip: "Skip", undo: "Undo",
      yes: "Excellent", no: "Not excellent", agree: "Agree with the judge", disagree: "Disagree", noView: "Not sure",
      prompt: "Prompt", why: "What is wrong with the weaker one (optional)", dims: "Dimensions (optional, keys 1–5)", total: "Weighted total",
      progress: "Done by all {done} / {total}", mine: "mine {mine}", rest: "left for me {left}",
      saving: "Saving …", saved: "Saved", undone: "Taken back, choose again", judge: "What the judge says",
      judgeGood: "good", judgeBad: "not good", score: "score {value}", reason: "Why? (optional, press R)",
      noJudge: "The judge gave no verdict here; on to the next", offline: "Not saved yet: the server does not answer. Your choice is kept; trying again …",
      busy: "The server is busy; not saved yet. Your choice is kept and sent again soon …", kept: "Your choice is kept and sent again soon …",
      retry: "Try now", done: "You have done everything here, thank you!", doneLead: "You annotated {mine} items.", others: "Other campaigns",
      who: "Annotating as {name}", leave: "Not you?", back: "Campaigns", mineVerdict: "You said: {said}", keys: "Keys: ",
    },
  };

  const { fill, newId, wait, h, Refused, Unavailable, caller, mounted } = window.zhufuKit;
  const call = caller("/api/annotation/");
  // Nobody reads two greetings in less: a press that comes sooner was meant for the item before.
  const READY_MS = 400;

  function mount(root) {
    const lang = root.dataset.lang === "en" ? "en" : "zh";
    const T = WORDS[lang];
    const { flaws, dimensions } = JSON.parse(root.dataset.words);
    const state = { rater: null, campaign: null, item: null, reveal: null, busy: false, unsaved: false, ready: false, pressedReady: false, shownAt: 0, reasons: new Set(), dims: {}, wake: null };

    // --- talking to the server ---------------------------------------------------------------
    async function persist(path, body) {
      // The same body, hence the same request id, until the server has answered: never lost, never doubled.
      for (let attempt = 0; ; attempt += 1) {
        try {
          const data = await call("POST", path, body);
          state.unsaved = false;
          banner(null);
          return data;
        } catch (error) {
          if (error instanceof Refused) { state.unsaved = false; banner(null); throw error; }
          state.unsaved = true;
          banner(trouble(error), true);
          const pause = error.seconds ? 1000 * error.seconds : Math.min(1000 * 2 ** attempt, 15000);
          await Promise.race([wait(pause), new Promise((resolve) => { state.wake = resolve; })]);
        }
      }
    }

    function trouble(error) {
      if (!(error instanceof Unavailable)) return T.offline;
      return error.seconds ? T.busy : `${error.words[lang]} ${T.kept}`;
    }

    async function guarded(work) {
      if (state.busy) return;
      setBusy(true);
      try {
        await work();
      } catch (error) {
        if (!(error instanceof Refused)) { banner(error.words ? error.words[lang] : T.offline, false); return; }
        if (error.status === 401) return showName();
        banner(error.words[lang], false);
        if (error.status === 409 && state.campaign && state.item) await following();
      } finally {
        setBusy(false);
      }
    }

    async function following() {
      take(await persist("next", { campaign_id: state.campaign.id }));
    }

    function take(data) {
      state.progress = data.progress;
      if (data.next) showItem(data.next);
      else showDone();
    }

    // --- small parts -----------------------------------------------------------------------------
    function setBusy(busy) {
      state.busy = busy;
      tellReadiness();
      root.classList.toggle("zf-busy", busy);
      for (const button of root.querySelectorAll("button[data-act], .zf-link")) button.disabled = busy;
      if (busy) tell(T.saving, true);
      else if (status().textContent === T.saving) tell("");
    }

    const status = () => root.querySelector(".zf-status") || h("span");
    function tell(text, quiet) {
      status().textContent = text;
      status().classList.toggle("zf-quiet", Boolean(quiet));
    }

    function banner(text, retry) {
      root.querySelector(".zf-banner")?.remove();
      if (!text) return;
      const node = h("div", { class: "zf-banner zf-bad", role: "alert" }, text + " ");
      if (retry) node.append(h("button", { type: "button", on: { click: () => state.wake?.() } }, T.retry));
      root.prepend(node);
    }

    function button(label, key, act, kind) {
      return h("button", { type: "button", "data-act": act, class: `zf-key ${kind || ""}`, "aria-keyshortcuts": key, on: { click: meant(() => doAct(act)) } },
        h("span", {}, label), h("kbd", {}, key));
    }

    // The second press of a double click is no answer, nor is one on what has only just appeared.
    const meant = (act) => (event) => {
      const begun = event.detail === 0 || state.pressedReady; // no pointer, or one that went down late enough
      if (event.detail < 2 && begun && state.ready && !state.busy) act(event);
    };

    function head() {
      return h("div", { class: "zf-ahead" },
        h("span", { class: "zf-me" }, fill(T.who, { name: state.rater.name }), " ",
          h("button", { type: "button", class: "zf-link", on: { click: () => guarded(async () => { await call("POST", "leave", {}); state.rater = null; history.replaceState(null, "", location.pathname); showName(); }) } }, T.leave)),
        state.campaign && h("button", { type: "button", class: "zf-link", on: { click: () => guarded(showPick) } }, T.back));
    }

    function bar() {
      const p = state.progress;
      const share = p.total ? Math.round((100 * p.done) / p.total) : 0;
      return h("div", { class: "zf-progress" },
        h("div", { class: "zf-track", role: "progressbar", "aria-valuenow": String(share), "aria-valuemin": "0", "aria-valuemax": "100" }, h("i", { style: `width:${share}%` })),
        h("span", { id: "zf-progress-text" }, [fill(T.progress, p), fill(T.mine, p), fill(T.rest, { left: p.left_for_me })].join(" · ")),
        h("span", { class: "zf-status", role: "status", "aria-live": "polite" }));
    }

    function paint(...nodes) {
      const told = status().textContent;
      const alert = root.querySelector(".zf-banner");
      root.replaceChildren(...(alert ? [alert] : []), ...nodes);
      if (told && told !== T.saving) tell(told);
    }

    function tellReadiness() {
      const shown = root.querySelector(".zf-item");
      if (shown) shown.dataset.ready = String(state.ready && !state.busy);
    }

    // --- the screens -----------------------------------------------------------------------------
    // Counted from the frame that shows it, and a hidden page shows none.
    function appear(...nodes) {
      state.ready = false;
      const shown = h("div", { class: "zf-item", "data-ready": "false" }, ...nodes);
      paint(head(), bar(), shown);
      requestAnimationFrame(() => setTimeout(() => {
        if (!shown.isConnected) return;
        state.ready = true;
        tellReadiness();
      }, READY_MS));
    }

    function showName() {
      state.campaign = state.item = null;
      const field = h("input", { id: "zf-name", maxlength: "40", autocomplete: "nickname", "aria-label": T.name, placeholder: T.name });
      const form = h("form", { class: "zf-enter" }, h("h2", {}, T.hello), h("p", { class: "zf-note" }, T.helloLead),
        h("div", { class: "zf-line" }, field, h("button", { type: "submit", class: "zf-go-button", id: "zf-enter" }, T.start)));
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        guarded(async () => {
          state.rater = (await persist("enter", { name: field.value })).rater;
          await open();
        });
      });
      paint(form);
      field.focus();
    }

    async function showPick() {
      state.campaign = state.item = null;
      if (location.hash) history.replaceState(null, "", location.pathname);
      const { campaigns } = await call("GET", "campaigns");
      const cards = campaigns.map((c) => h("div", { class: "zf-card zf-campaign" },
        h("h3", {}, c.name),
        h("p", {}, [T[c.kind], fill(T.each, c), fill(T.items, c)].join(" · ")),
        c.instructions && h("p", { class: "zf-instructions" }, c.instructions),
        c.closed ? h("p", {}, T.closed) : h("button", { type: "button", class: "zf-go-button", "data-campaign": c.id, on: { click: () => guarded(() => begin(c)) } }, T.go)));
      paint(head(), h("h2", { class: "zf-h" }, T.pick), cards.length ? h("div", { class: "zf-cards" }, ...cards) : h("div", { class: "zf-empty" }, T.none));
    }

    async function begin(campaign) {
      state.campaign = campaign;
      // Spelled out: Gradio sets a base address, which a bare hash would be resolved against.
      history.replaceState(null, "", `${location.pathname}${location.search}#c=${campaign.id}`);
      banner(null);
      await following();
    }

    function showDone() {
      state.item = null;
      appear(h("div", { class: "zf-empty", id: "zf-done" }, h("h2", {}, T.done), h("p", {}, fill(T.doneLead, state.progress)),
        h("div", { class: "zf-line" }, button(T.undo, "Z", "undo"), h("button", { type: "button", class: "zf-go-button", on: { click: () => guarded(showPick) } }, T.others))));
    }

    function showItem(item) {
      Object.assign(state, { item, reveal: item.reveal, shownAt: performance.now(), reasons: new Set(), dims: {} });
      const prompt = h("div", { class: "zf-prompt" }, h("small", {}, T.prompt), h("p", { id: "zf-prompt" }, item.prompt));
      if (item.kind === "compare") appear(instructions(), prompt, pair(item), compareKeys(), chips());
      else appear(instructions(), prompt, single(item), ...(item.reveal ? revealParts() : blindParts(item)));
      if (matchMedia("(max-width: 700px)").matches) root.scrollIntoView({ block: "start" });
    }

    const instructions = () => state.campaign.instructions && h("details", { class: "zf-how" }, h("summary", {}, state.campaign.name), h("p", {}, state.campaign.instructions));

    function pair(item) {
      const card = (mark, text) => h("div", { class: "zf-side", "data-side": mark.toLowerCase() }, h("b", {}, mark), h("p", { id: `zf-${mark.toLowerCase()}` }, text));
      return h("div", { class: "zf-pair" }, card("A", item.left), card("B", item.right));
    }

    const single = (item) => h("div", { class: "zf-pair zf-one" }, h("div", { class: "zf-side" }, h("p", { id: "zf-a" }, item.left)));

    const compareKeys = () => h("div", { class: "zf-keys" },
      button(T.left, "←", "a", "zf-main"), button(T.right, "→", "b", "zf-main"), button(T.good, "↑", "both_good"), button(T.bad, "↓", "both_bad"),
      button(T.skip, "S", "skip", "zf-minor"), button(T.undo, "Z", "undo", "zf-minor"));

    function chips() {
      const all = flaws.map(([key, label], index) => h("button", { type: "button", class: "zf-chip", "aria-pressed": "false", "data-flaw": key, on: { click: meant((event) => toggle(key, event.currentTarget)) } },
        label, h("kbd", {}, String((index + 1) % 10))));
      return h("div", { class: "zf-why" }, h("small", {}, T.why), h("div", { class: "zf-chips" }, ...all));
    }

    function toggle(key, node) {
      if (!state.reasons.delete(key)) state.reasons.add(key);
      node.setAttribute("aria-pressed", String(state.reasons.has(key)));
    }

    function blindParts(item) {
      return [item.rubric && rubric(), h("div", { class: "zf-keys" }, button(T.no, "←", "no", "zf-main"), button(T.yes, "→", "yes", "zf-main"),
        button(T.skip, "S", "skip", "zf-minor"), button(T.undo, "Z", "undo", "zf-minor"))].filter(Boolean);
    }

    function rubric() {
      const total = h("output", { id: "zf-total" });
      const show = () => {
        const complete = dimensions.every(([name]) => state.dims[name]);
        total.textContent = complete ? `${T.total} ${dimensions.reduce((sum, [name, , weight]) => sum + weight * state.dims[name], 0).toFixed(2)}` : "";
        for (const node of root.querySelectorAll("[data-dim]")) node.setAttribute("aria-pressed", String(state.dims[node.dataset.dim] === Number(node.dataset.points)));
      };
      state.cycle = (index) => { const [name] = dimensions[index]; const next = ((state.dims[name] || 0) + 1) % 4; if (next) state.dims[name] = next; else delete state.dims[name]; show(); };
      const rows = dimensions.map(([name, label, weight], index) => h("div", { class: "zf-dim" },
        h("span", {}, h("kbd", {}, String(index + 1)), ` ${label} ${Math.round(weight * 100)}%`),
        h("span", { role: "group", "aria-label": label }, ...[1, 2, 3].map((points) => h("button", { type: "button", "data-dim": name, "data-points": String(points), "aria-pressed": "false", "aria-label": `${label} ${points}`,
          on: { click: meant(() => { if (state.dims[name] === points) delete state.dims[name]; else state.dims[name] = points; show(); }) } }, String(points))))));
      return h("div", { class: "zf-why" }, h("small", {}, T.dims), ...rows, total);
    }

    function verdictWord(reveal) {
      const limit = { binary: 0.5, rubric: 2, score: 0 }[reveal.scale];
      const word = reveal.value >= limit ? T.judgeGood : T.judgeBad;
      return reveal.scale === "binary" ? word : `${word}（${fill(T.score, { value: reveal.value.toFixed(2) })}）`;
    }

    function revealParts() {
      return [h("div", { class: "zf-reveal", id: "zf-reveal" }, h("small", {}, T.judge), h("p", {}, h("b", {}, verdictWord(state.reveal)), " ", state.reveal.reason),
        h("input", { id: "zf-reason", maxlength: "500", placeholder: T.reason, "aria-label": T.reason })),
      h("div", { class: "zf-keys" }, button(T.disagree, "←", "disagree", "zf-main"), button(T.agree, "→", "agree", "zf-main"), button(T.noView, "S", "no_view", "zf-minor"), button(T.undo, "Z", "undo", "zf-minor"))];
    }

    // --- acts --------------------------------------------------------------------------------------
    const envelope = () => ({ campaign_id: state.campaign.id, item_id: state.item.item_id, request_id: newId() });

    function doAct(act) {
      if (act === "undo") return guarded(async () => {
        const data = await persist("undo", { campaign_id: state.campaign.id, request_id: newId() });
        take(data);
        tell(T.undone);
      });
      if (!state.item) return undefined;
      const body = envelope();
      if (state.item.kind === "compare") return guarded(() => store("compare", { ...body, outcome: act, reasons: [...state.reasons], seconds: Math.round(performance.now() - state.shownAt) / 1000 }));
      if (state.reveal) {
        const agrees = { agree: true, disagree: false, no_view: null }[act];
        return guarded(() => store("review", { ...body, agrees, reason: root.querySelector("#zf-reason").value }));
      }
      const value = { yes: 1, no: 0, skip: null }[act];
      const dims = value !== null && Object.keys(state.dims).length ? { dimensions: state.dims } : {};
      return guarded(async () => {
        const data = await persist("verdict", { ...body, value, ...dims });
        if (!data.reveal) { take(data); tell(T.saved); if (value !== null) tell(`${T.saved} · ${T.noJudge}`); return; }
        const item = state.item;
        showItem({ ...item, reveal: data.reveal });
        tell(T.saved);
      });
    }

    async function store(path, body) {
      take(await persist(path, body));
      tell(T.saved);
    }

    const KEYS = {
      compare: { ArrowLeft: "a", ArrowRight: "b", ArrowUp: "both_good", ArrowDown: "both_bad", s: "skip", z: "undo" },
      blind: { ArrowLeft: "no", ArrowRight: "yes", s: "skip", z: "undo" },
      reveal: { ArrowLeft: "disagree", ArrowRight: "agree", s: "no_view", z: "undo" },
      done: { z: "undo" },
    };

    function onKey(event) {
      if (!root.isConnected) { document.removeEventListener("keydown", onKey); return; }
      if (!state.campaign || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.isComposing || event.keyCode === 229) return; // an input method is at work
      if (event.shiftKey && event.key.startsWith("Arrow")) return; // extends a selection of text
      if (event.target.closest?.("input, textarea, select, [contenteditable]")) {
        if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "zf-reason")) event.target.blur();
        return;
      }
      const screen = !state.item ? "done" : state.item.kind === "compare" ? "compare" : state.reveal ? "reveal" : "blind";
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const act = KEYS[screen][key];
      if (act || event.key.startsWith("Arrow")) event.preventDefault();
      // A key that is held down presses a focused button again and again, too.
      if (event.repeat && event.key === "Enter" && event.target.closest?.("#zf-annotate button")) event.preventDefault();
      if (event.repeat || state.busy || !state.ready) return;
      if (act) doAct(act);
      else if (screen === "reveal" && key === "r") { event.preventDefault(); root.querySelector("#zf-reason").focus(); }
      else if (/^[0-9]$/.test(key)) digit(screen, (Number(key) + 9) % 10);
    }

    function digit(screen, index) {
      if (screen === "compare" && flaws[index]) toggle(flaws[index][0], root.querySelector(`[data-flaw="${flaws[index][0]}"]`));
      if (screen === "blind" && state.item.rubric && dimensions[index]) state.cycle(index);
    }

    async function open() {
      const wanted = /^#c=(\d+)$/.exec(location.hash);
      if (wanted) {
        const { campaigns } = await call("GET", "campaigns");
        const found = campaigns.find((c) => c.id === Number(wanted[1]) && !c.closed);
        if (found) return begin(found);
      }
      return showPick();
    }

    document.addEventListener("keydown", onKey);
    root.addEventListener("pointerdown", () => { state.pressedReady = state.ready; }, true);
    addEventListener("beforeunload", (event) => { if (state.unsaved && root.isConnected) event.preventDefault(); });
    guarded(async () => {
      state.rater = (await call("GET", "me")).rater;
      if (state.rater) await open();
      else showName();
    });
  }

  mounted("zf-annotate", mount);
})();
