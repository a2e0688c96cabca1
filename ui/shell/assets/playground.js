// The write page: ask → cards that fill while the server writes → copy, like, change, judge.
(() => {
  const { fill, newId, h, caller, mounted } = window.zhufuKit;
  const call = caller("/api/play/");
  const CHOSEN = "zhufu_models";
  const FINAL = ["done", "failed", "stopped"];
  const CHANGES = ["again", "shorter", "warmer", "funnier", "classical"];
  const TUNED = [["temperature", 0, 2, 0.05], ["top_p", 0.05, 1, 0.05], ["max_tokens", 8, 2000, 1], ["seed", 0, 2147483646, 1]];

  function mount(root) {
    const lang = root.dataset.lang === "en" ? "en" : "zh";
    const T = window.zhufuPlayWords[lang];
    const words = JSON.parse(root.dataset.words);
    const state = { models: [], starter: null, judges: [], chosen: new Set(remembered()), rounds: new Map(), stream: null, poll: null, count: 4, timer: null };
    const usable = () => state.models.filter((model) => model.readiness !== "gone");
    const said = (message) => (message ? message[lang] : "");
    const el = (id) => root.querySelector(`#${id}`);

    // --- talking to the server -------------------------------------------------------------------
    async function guarded(work, place) {
      const banner = place || el("zf-play-told");
      try {
        banner?.replaceChildren();
        return await work();
      } catch (error) {
        const told = error.words ? error.words[lang] : T.offline;
        banner?.replaceChildren(h("div", { class: "zf-bad", role: "alert" }, told));
        return null;
      }
    }

    async function refresh() {
      clearTimeout(state.timer);
      if (!root.isConnected) return;
      try {
        Object.assign(state, await call("GET", "models"));
        const known = new Set(usable().map((model) => model.name));
        for (const name of state.chosen) if (!known.has(name)) state.chosen.delete(name);
        const first = usable().find((model) => model.readiness === "ready") || usable()[0];
        if (!state.chosen.size && first) state.chosen.add(first.name);
        paintModels();
      } catch { /* the next look comes soon */ }
      const soon = state.starter?.running || state.models.some((model) => model.readiness === "starting");
      state.timer = setTimeout(refresh, soon ? 1500 : 30000);
    }

    // One stream a page, for the newest round that is being written: a browser has only six connections to a
    // server, for all its tabs. Others are looked at now and then.
    function listen() {
      const running = [...state.rounds.values()].filter((round) => round.running);
      const token = running.at(-1)?.token;
      if (state.stream?.token !== token) { state.stream?.source.close(); state.stream = token ? { token, source: stream(token) } : null; }
      if (running.length > 1 && !state.poll) state.poll = setTimeout(look, 1200);
    }

    function stream(token) {
      const source = new EventSource(`/api/play/rounds/${token}/events`);
      const end = () => { source.close(); if (state.stream?.token === token) state.stream = null; };
      let late = null; // streams are short and come again by themselves: only one that does not is worth a word
      const well = () => { clearTimeout(late); late = null; offline(false); };
      source.onmessage = (event) => { if (!root.isConnected) return end(); well(); take(JSON.parse(event.data)); };
      source.addEventListener("end", () => { well(); end(); refresh(); listen(); });
      source.onerror = () => { if (source.readyState === EventSource.CLOSED) end(); else late ??= setTimeout(() => offline(true), 3000); };
      return source;
    }

    async function look() {
      state.poll = null;
      if (!root.isConnected) return;
      try { for (const round of (await call("GET", "rounds")).rounds) if (round.token !== state.stream?.token && state.rounds.has(round.token)) take(round); } catch { /* the next look comes soon */ }
      listen();
    }

    const offline = (is) => el("zf-play-offline").toggleAttribute("hidden", !is);

    function take(round) {
      const known = state.rounds.get(round.token);
      if (known && round.running && round.revision < known.revision) return;
      state.rounds.set(round.token, round);
      paintRound(round);
      listen();
    }

    // --- asking ----------------------------------------------------------------------------------
    function composer() {
      const text = h("textarea", { id: "zf-play-text", rows: "2", maxlength: "20000", placeholder: T.placeholder, "aria-label": T.ask });
      text.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); begin(); } });
      const examples = words.examples.map((one) => h("button", { type: "button", class: "zf-pill", "data-example": true, lang, on: { click: () => { text.value = one.text; text.focus(); } } }, one.label));
      return h("form", { class: "zf-ask", on: { submit: (event) => { event.preventDefault(); begin(); } } },
        h("label", { for: "zf-play-text" }, T.ask), text, h("div", { class: "zf-pills" }, ...examples), parts(),
        h("div", { class: "zf-askline" }, h("div", { id: "zf-play-models", class: "zf-models", role: "group", "aria-label": T.models }), counter(),
          h("button", { type: "submit", class: "zf-go-button", id: "zf-play-go" }, T.write)),
        tuning(), h("div", { id: "zf-play-told" }));
    }

    function parts() {
      const list = (id, all) => h("datalist", { id }, ...all.map((one) => h("option", { value: one })));
      const field = (name, options) => h("label", {}, h("span", {}, T[name]), h("input", { "data-field": name, maxlength: name === "personal" ? "200" : "40", list: options, autocomplete: "off" }));
      const choice = (name, options) => h("label", {}, h("span", {}, T[name]), h("select", { "data-field": name }, h("option", { value: "" }, T.any), ...options.map(([value, label]) => h("option", { value }, label))));
      return h("details", { class: "zf-parts" }, h("summary", {}, T.parts),
        h("div", { class: "zf-grid" }, field("occasion", "zf-occasions"), field("recipient", "zf-recipients"), choice("style", words.styles),
          choice("length", ["short", "medium", "long"].map((one) => [one, T[one]])), field("personal")),
        list("zf-occasions", words.occasions), list("zf-recipients", words.recipients));
    }

    function counter() {
      const shown = h("output", { id: "zf-play-count", "aria-live": "polite" }, String(state.count));
      const step = (by) => { state.count = Math.min(8, Math.max(1, state.count + by)); shown.textContent = String(state.count); };
      return h("div", { class: "zf-count-box", role: "group", "aria-label": T.count }, h("span", {}, T.count),
        h("button", { type: "button", "aria-label": "−", on: { click: () => step(-1) } }, "−"), shown, h("button", { type: "button", "aria-label": "+", on: { click: () => step(1) } }, "+"));
    }

    function tuning() {
      const fields = TUNED.map(([name, low, high, step]) => h("label", {}, h("span", {}, T[name]), h("input", { type: "number", "data-tune": name, min: low, max: high, step })));
      const reset = h("button", { type: "button", class: "zf-link", on: { click: () => { for (const field of root.querySelectorAll("[data-tune]")) field.value = ""; } } }, T.reset);
      return h("details", { class: "zf-parts", id: "zf-play-tune" }, h("summary", {}, T.tune), h("p", { class: "zf-note" }, T.tuneLead), h("div", { class: "zf-grid" }, ...fields), h("div", { id: "zf-play-resting" }), reset);
    }

    function body() {
      const fields = Object.fromEntries([...root.querySelectorAll("[data-field]")].map((node) => [node.dataset.field, node.value.trim()]));
      const numbers = Object.fromEntries([...root.querySelectorAll("[data-tune]")].filter((node) => node.value !== "").map((node) => [node.dataset.tune, Number(node.value)]));
      const { seed, ...sampling } = numbers;
      return { models: [...state.chosen], text: el("zf-play-text").value, fields, count: state.count, sampling, seed: seed ?? null };
    }

    async function begin(wish) {
      const go = el("zf-play-go");
      if (go.disabled) return;
      go.disabled = true;
      const begun = await guarded(() => call("POST", "rounds", wish || body()));
      // A nervous second press means the same round, not another one.
      setTimeout(() => { go.disabled = false; }, begun ? 800 : 0);
      if (!begun) return;
      take(begun.round);
      refresh();
      roundNode(begun.round.token)?.scrollIntoView({ block: "nearest", behavior: "smooth" });
    }

    // --- models ----------------------------------------------------------------------------------
    function paintModels() {
      root.classList.toggle("zf-no-model", !usable().length);
      el("zf-play-offer").replaceChildren(...(usable().length ? [] : [offer()]));
      const pill = (model) => h("button", {
        type: "button", class: "zf-pill zf-model", "data-model": model.name, "data-readiness": model.readiness, disabled: model.readiness === "gone",
        "aria-pressed": String(state.chosen.has(model.name)), title: about(model), on: { click: () => choose(model) },
      }, h("i", { "aria-hidden": "true" }), h("span", {}, model.title), model.readiness === "starting" ? h("small", {}, T.starting) : null);
      el("zf-play-models")?.replaceChildren(...state.models.map(pill));
      for (const field of root.querySelectorAll("[data-tune]")) field.placeholder = usual(field.dataset.tune);
      const awake = state.models.filter((model) => model.kind === "artifact" && ["ready", "starting"].includes(model.readiness));
      el("zf-play-resting")?.replaceChildren(...awake.map((model) => h("p", {}, `${model.title} · ${T[model.readiness]} `,
        h("button", { type: "button", class: "zf-link", "data-rest": model.name, on: { click: () => guarded(() => call("POST", "models/stop", { model: model.name })).then(refresh) } }, T.rest))));
    }

    function about(model) {
      const size = model.size ? [fill(T.size, { size: (model.size / 1e6).toFixed(1) })] : [];
      return [model.model, T[model.readiness], ...size].join(" · ");
    }

    function usual(name) {
      if (name === "seed") return T.random;
      const values = new Set(state.models.filter((model) => state.chosen.has(model.name)).map((model) => model.sampling[name]));
      return values.size ? fill(T.usual, { value: [...values].join(" / ") }) : "";
    }

    async function choose(model) {
      if (state.chosen.has(model.name) && state.chosen.size > 1) state.chosen.delete(model.name);
      else state.chosen.add(model.name);
      try { localStorage.setItem(CHOSEN, JSON.stringify([...state.chosen])); } catch { /* private mode */ }
      paintModels();
      if (model.readiness === "asleep" && state.chosen.has(model.name)) await guarded(() => call("POST", "models/start", { model: model.name }));
      refresh();
    }

    function offer() {
      const { starter } = state;
      const busy = starter?.running || starter?.blocked;
      const percent = Math.round(100 * (starter?.progress || 0));
      const train = busy
        ? [h("div", { class: "zf-track", role: "progressbar", "aria-valuenow": String(percent), "aria-valuemin": "0", "aria-valuemax": "100" }, h("i", { style: `width:${percent}%` })),
          h("p", { id: "zf-play-training" }, starter.waiting ? said(starter.waiting) : fill(T.starterRun, { percent })), h("a", { class: "zf-a", href: `/${lang}/training` }, T.starterSee)]
        : [starter?.failed && h("div", { class: "zf-bad" }, said(starter.failed)),
          h("button", { type: "button", class: "zf-go-button", id: "zf-play-starter", on: { click: () => guarded(() => call("POST", "starter", {})).then(refresh) } }, T.starterGo)];
      return h("div", { class: "zf-offer" }, h("h2", {}, T.noModel), h("p", { class: "zf-note" }, T.noModelLead), h("div", { class: "zf-cards" },
        h("div", { class: "zf-card" }, h("h3", {}, T.starterTitle), h("p", {}, T.starterLead), ...train),
        h("div", { class: "zf-card" }, h("h3", {}, T.connectTitle), h("p", {}, T.connectLead), h("a", { class: "zf-go", href: `/${lang}/judges` }, T.connectGo))));
    }

    // --- rounds ----------------------------------------------------------------------------------
    const roundNode = (token) => root.querySelector(`[data-token="${token}"]`);

    function paintRound(round) {
      let node = roundNode(round.token);
      if (!node) {
        node = h("section", { class: "zf-round", "data-token": round.token }, h("header", {}, h("h2", {}, round.prompt), h("span", { class: "zf-round-acts" })), h("p", { class: "zf-note", "data-note": true }), h("div", { class: "zf-columns" }));
        el("zf-rounds").prepend(node);
        for (const other of [...el("zf-rounds").children].slice(1)) el("zf-earlier-rounds").prepend(other);
      }
      node.classList.toggle("zf-running", round.running);
      node.querySelector("[data-note]").textContent = said(round.note);
      const act = round.running ? "stop" : "again2";
      const acts = node.querySelector(".zf-round-acts");
      if (acts.dataset.act !== act) {
        acts.dataset.act = act;
        const again = () => begin({ models: round.wish.generators, text: round.wish.text, fields: round.wish.fields, count: Math.min(8, round.wish.count), sampling: round.wish.sampling, seed: null });
        const stop = () => guarded(async () => take((await call("POST", `rounds/${round.token}/stop`, {})).round));
        acts.replaceChildren(h("button", { type: "button", class: "zf-link", "data-act": act, on: { click: act === "stop" ? stop : again } }, T[act]));
      }
      for (const [generator, places] of grouped(round.cards)) paintColumn(node.querySelector(".zf-columns"), generator, places, round);
      el("zf-earlier").toggleAttribute("hidden", !el("zf-earlier-rounds").children.length);
      el("zf-play-nothing").toggleAttribute("hidden", state.rounds.size > 0 || !usable().length);
    }

    function grouped(cards) {
      const columns = new Map();
      for (const card of cards) {
        if (!columns.has(card.generator)) columns.set(card.generator, new Map());
        const places = columns.get(card.generator);
        if (!places.has(card.place)) places.set(card.place, []);
        places.get(card.place).push(card);
      }
      return columns;
    }

    function paintColumn(parent, generator, places, round) {
      const several = new Set(round.cards.map((card) => card.generator)).size > 1;
      let column = [...parent.children].find((node) => node.dataset.generator === generator);
      if (!column) {
        const title = state.models.find((model) => model.name === generator)?.title || [...places.values()][0][0].model;
        column = h("div", { class: "zf-column", "data-generator": generator }, h("h3", { hidden: !several }, title), h("div", { class: "zf-slips" }));
        parent.append(column);
      }
      parent.classList.toggle("zf-several", several);
      for (const [place, versions] of places) {
        const slips = column.lastElementChild;
        let slip = [...slips.children].find((node) => node.dataset.place === String(place));
        if (!slip) { slip = makeSlip(round.token, place); slips.append(slip.node); slip.node.slip = slip; } else slip = slip.slip;
        slip.take(versions);
      }
    }

    // --- one card, with its versions ---------------------------------------------------------------
    function makeSlip(token, place) {
      const slip = { versions: [], at: -1, judged: new Map() };
      const text = h("p", { class: "zf-slip-text" });
      const note = h("p", { class: "zf-slip-note", role: "status" });
      const judges = h("div", { class: "zf-slip-judges", hidden: true });
      const told = h("div", {});
      const now = () => slip.versions[slip.at];
      const button = (act, click, label) => h("button", { type: "button", "data-act": act, on: { click } }, label || T[act]);
      const like = (value) => button(value > 0 ? "like" : "dislike", () => react(value));
      const changes = CHANGES.map((change) => button(change, () => guarded(async () => take((await call("POST", `cards/${now().id}/change`, { change })).round), told)));
      const turn = h("span", { class: "zf-turn", hidden: true }, button("prev", () => show(slip.at - 1), "‹"), h("output", {}), button("next", () => show(slip.at + 1), "›"));
      turn.firstChild.setAttribute("aria-label", T.prev);
      turn.lastChild.setAttribute("aria-label", T.next);
      const acts = h("div", { class: "zf-slip-acts" }, button("copy", (event) => copy(now().text, event.currentTarget)), like(1), like(-1), button("judge", judge), turn);
      slip.node = h("article", { class: "zf-slip", "data-place": String(place), "data-round": token }, text, note, acts, h("div", { class: "zf-slip-changes" }, ...changes), told, judges);

      slip.take = (versions) => {
        const follow = slip.at < 0 || slip.at === slip.versions.length - 1;
        slip.versions = versions;
        show(follow ? versions.length - 1 : slip.at);
      };

      function show(at) {
        slip.at = Math.max(0, Math.min(at, slip.versions.length - 1));
        const card = now();
        const final = FINAL.includes(card.state);
        slip.node.dataset.state = card.state;
        slip.node.dataset.card = card.id;
        if (text.textContent !== card.text) text.textContent = card.text;
        const status = final ? said(card.note) : said(card.note) || (card.waking ? T.waking : card.state === "writing" ? (card.text ? "" : T.writing) : card.ahead ? fill(T.ahead, { n: card.ahead }) : T.waiting);
        if (note.textContent !== status) note.textContent = status;
        for (const node of acts.querySelectorAll("[data-act]")) node.disabled = ["prev", "next"].includes(node.dataset.act) ? false : !final || !card.text;
        for (const node of changes) node.disabled = !final || slip.versions.some((one) => !FINAL.includes(one.state));
        acts.querySelector("[data-act=like]").setAttribute("aria-pressed", String(card.liked > 0));
        acts.querySelector("[data-act=dislike]").setAttribute("aria-pressed", String(card.liked < 0));
        turn.toggleAttribute("hidden", slip.versions.length < 2);
        turn.querySelector("output").textContent = fill(T.version, { at: slip.at + 1, of: slip.versions.length });
        if (!judges.hidden && judges.dataset.card !== String(card.id)) judges.hidden = true;
      }

      async function react(value) {
        const card = now();
        await guarded(async () => {
          const { card: fresh } = await call("POST", `cards/${card.id}/signal`, { value: card.liked === value ? 0 : value, request_id: newId() });
          slip.versions = slip.versions.map((one) => (one.id === fresh.id ? { ...one, liked: fresh.liked } : one));
          show(slip.at);
        }, told);
      }

      function judge() {
        const card = now();
        if (!judges.hidden) { judges.hidden = true; return; }
        judges.hidden = false;
        if (judges.dataset.card === String(card.id)) return;
        judges.dataset.card = card.id;
        judges.replaceChildren(...state.judges.map((name) => {
          const line = h("p", { "data-judge": name }, h("b", {}, words.judges[name] || name), " ", h("span", {}, T.judging));
          call("POST", `cards/${card.id}/judge`, { judge: name }).then(
            (verdict) => line.replaceChildren(line.firstChild, " ", h("em", { title: verdict.scale === "score" ? T.scoreNote : null }, verdictWord(verdict)), " ", h("span", {}, verdict.reason)),
            (error) => line.replaceChildren(line.firstChild, " ", h("span", { class: "zf-unscored" }, error.words ? error.words[lang] : T.offline)));
          return line;
        }));
      }

      return slip;
    }

    function verdictWord(verdict) {
      if (verdict.value === null) return T.unscored;
      if (verdict.scale === "binary") return verdict.value >= 0.5 ? T.good : T.bad;
      if (verdict.scale === "rubric") return `${verdict.value >= 2 ? T.good : T.bad}（${verdict.value.toFixed(2)}）`;
      return fill(T.score, { value: verdict.value.toFixed(2) });
    }

    async function copy(text, node) {
      try {
        await navigator.clipboard.writeText(text);
      } catch { // no secure context: the old way
        const area = h("textarea", { style: "position:fixed;opacity:0" });
        document.body.append(area);
        area.value = text;
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      node.textContent = T.copied;
      setTimeout(() => { node.textContent = T.copy; }, 1500);
    }

    // --- what flows back ---------------------------------------------------------------------------
    function research() {
      const rows = h("div", { id: "zf-tallies" });
      const told = h("div", { id: "zf-flow-told" });
      const judge = h("select", { id: "zf-flow-judge", "aria-label": T.whichJudge });
      const ticked = () => [...rows.querySelectorAll("input:checked")].map((node) => node.value);
      const link = (path, label) => h("a", { class: "zf-a", href: `/${lang}/${path}` }, label);
      const done = (text, ...links) => told.replaceChildren(h("div", { class: "zf-ok", role: "status" }, text, " ", ...links));
      const people = (kind) => guarded(async () => {
        const { campaign } = await call("POST", "campaign", { models: ticked(), kind });
        done(fill(T.campaignMade, campaign), link(`annotate#c=${campaign.id}`, T.openCampaign), " ", link("agreement", T.openAgreement));
      }, told);
      const score = () => guarded(async () => {
        for (const model of ticked()) {
          const { job } = await call("POST", "score", { model, judge: judge.value });
          done(fill(T.jobMade, { job }), link("judges", T.openJob));
        }
      }, told);
      const acts = h("div", { class: "zf-line" },
        h("button", { type: "button", class: "zf-pill", id: "zf-flow-people", on: { click: () => people("validate") } }, T.toPeople),
        h("button", { type: "button", class: "zf-pill", id: "zf-flow-compare", on: { click: () => people("compare") } }, T.toCompare),
        judge, h("button", { type: "button", class: "zf-pill", id: "zf-flow-score", on: { click: score } }, T.toJudge));
      const open = async (event) => {
        if (!event.target.open) return;
        const { tallies } = await call("GET", "tallies");
        judge.replaceChildren(...state.judges.map((name) => h("option", { value: name }, words.judges[name] || name)));
        const title = (row) => state.models.find((model) => model.name === row.generator)?.title || `${row.model} (${row.generator})`;
        rows.replaceChildren(...(tallies.length ? tallies.map((row, index) => h("label", { class: "zf-tally" }, h("input", { type: "checkbox", value: row.generator, checked: index === 0 }), " ", fill(T.tally, { ...row, title: title(row) }))) : [h("p", { class: "zf-note" }, T.noTally)]));
        acts.hidden = !tallies.length;
      };
      return h("details", { class: "zf-parts", id: "zf-flow", on: { toggle: open } }, h("summary", {}, T.back), h("p", { class: "zf-note" }, T.backLead), rows, acts, told);
    }

    function remembered() {
      try { return JSON.parse(localStorage.getItem(CHOSEN)) || []; } catch { return []; }
    }

    async function open() {
      root.replaceChildren(
        h("div", { class: "zf-title" }, h("h1", {}, T.title), h("p", {}, T.lead)),
        h("div", { id: "zf-play-offline", class: "zf-bad", role: "alert", hidden: true }, T.offline),
        h("div", { id: "zf-play-offer" }), composer(),
        h("div", { id: "zf-rounds" }), h("div", { class: "zf-empty", id: "zf-play-nothing", hidden: true }, T.nothing),
        h("details", { class: "zf-parts", id: "zf-earlier", hidden: true }, h("summary", {}, T.earlier), h("div", { id: "zf-earlier-rounds" })),
        research(), h("p", { class: "zf-note zf-privacy" }, T.privacy));
      await refresh();
      // The starter that came along wakes while the request is being written. Should it not, its cards will tell why.
      call("POST", "wake", {}).then(({ model }) => { if (model) refresh(); }, () => {});
      const { rounds } = (await guarded(() => call("GET", "rounds"))) || { rounds: [] };
      for (const round of rounds.reverse()) take(round);
      el("zf-play-nothing").toggleAttribute("hidden", state.rounds.size > 0 || !usable().length);
      root.dataset.ready = "1";
    }

    open();
  }

  mounted("zf-play", mount);
})();
