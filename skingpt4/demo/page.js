// The page's own script. Gradio draws the page and sends what is pressed; this keeps anything that a
// person gives to the page from being lost: photos by any gesture, the tab's conversation through
// reloads, requests through a lost connection. Nothing here reaches any other machine.

(() => {
  const page = window.skingpt4;
  const TAB = "skingpt4-tab", DRAFT = "skingpt4-draft", LANGUAGE = "skingpt4-language";
  const LARGEST = 100 * 2 ** 20; // bytes, as in middleware.py
  const LOOK_MS = 200, RETRY_MS = 1000;
  const fetchPlainly = window.fetch.bind(window);
  const find = (selector) => document.querySelector(selector);
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const root = () => new URL(window.gradio_config?.root ?? location.href).pathname.replace(/\/+$/, "");

  // ---- Language: what was chosen, else Chinese for every kind of Chinese, else English.

  const kept = sessionStorage.getItem(LANGUAGE) ?? localStorage.getItem(LANGUAGE);
  const isChinese = (kept ?? navigator.language ?? "").toLowerCase().startsWith("zh");
  const language = isChinese ? "zh" : "en", tag = isChinese ? "zh-CN" : "en";
  const text = (key) => page.texts[language][key];
  // Gradio asks the browser; the answer is the page's.
  Object.defineProperty(Navigator.prototype, "language", {get: () => tag});
  Object.defineProperty(Navigator.prototype, "languages", {get: () => [tag]});
  document.documentElement.lang = tag;
  document.title ||= "SkinGPT-4"; // Gradio's login page has none

  function speak(other) {
    localStorage.setItem(LANGUAGE, other);
    sessionStorage.setItem(LANGUAGE, other);
    location.reload(); // the conversation is the tab's, so it comes back
  }

  // ---- The tab: a key that survives a reload. A copy of a tab shares its conversation.

  function tab() {
    let key = sessionStorage.getItem(TAB);
    if (!key) {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      key = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      sessionStorage.setItem(TAB, key);
    }
    return key;
  }

  page.entry = () => JSON.stringify({key: tab(), language, root: root()});

  // ---- Requests: one that does not get through is held and sent again when there is a connection.

  let view = null; // Gradio's name for this page
  let hasEnded = false; // the server knows this tab no longer

  let told = null; // what the line of the connection says

  function tell(key) {
    if (hasEnded && key !== "ended") return;
    told = key;
    let line = find("#connection");
    if (!line && key) {
      line = document.createElement("div");
      line.id = "connection";
      line.setAttribute("role", "alert");
      document.body.append(line);
    }
    if (!line) return;
    line.hidden = !key;
    line.textContent = key ? text(key) : "";
    return line;
  }

  async function send(address, options) {
    for (;;) {
      try {
        const answer = await fetchPlainly(address, options);
        // Too many requests, or a proxy whose server is not there at the moment.
        if ([429, 502, 503, 504].includes(answer.status)) throw new Error("later");
        if (told === "lost") tell(null);
        return answer;
      } catch (error) {
        if (options?.signal?.aborted) throw error;
        tell("lost");
        await Promise.race([
          pause(RETRY_MS), new Promise((done) => addEventListener("online", done, {once: true})),
        ]);
      }
    }
  }

  const ask = (path, options = {}) =>
    send(`${root()}/page/${path}`, {...options, headers: {"x-skingpt4-tab": tab(), ...options.headers}});

  window.fetch = async (address, options) => {
    const isAction = String(address?.url ?? address).includes("/gradio_api/run/");
    if (!isAction) return fetchPlainly(address, options);
    view = JSON.parse(options.body).session_hash;
    const answer = await send(address, options);
    if (!answer.ok && !(await isKnown())) {
      end();
      return new Promise(() => {}); // what is on the screen stays as it is
    }
    setTimeout(look);
    return answer;
  };

  async function isKnown() {
    return (await (await ask("look")).json()).known;
  }

  function end() {
    hasEnded = true;
    const line = tell("ended");
    const button = document.createElement("button");
    button.textContent = text("again");
    button.addEventListener("click", () => location.reload());
    line.append(" ", button);
  }

  // ---- News: looked for after each action, and while something is under way. An idle tab asks for
  // nothing and holds no connection.

  let isLooking = false, wasAsked = false;
  page.isLooking = () => isLooking;
  const shown = () => Number(find("#version")?.textContent);

  async function look() {
    wasAsked = true; // also while a look is on its way, whose answer may be older
    if (isLooking || hasEnded || !view) return;
    isLooking = true;
    try {
      for (;;) {
        wasAsked = false;
        const news = await (await ask("look")).json();
        if (!news.known) return end();
        if (news.version !== shown()) {
          find("#refresh").click();
          for (let n = 0; n < 20 && news.version > shown(); n++) await pause(LOOK_MS / 4);
        } else if (!news.busy && !wasAsked) return;
        await pause(LOOK_MS);
      }
    } finally {
      isLooking = false;
    }
  }

  addEventListener("online", look);
  document.addEventListener("visibilitychange", () => document.hidden || look());
  addEventListener("pageshow", (event) => event.persisted && find("#enter")?.click());
  addEventListener("pagehide", () => view && navigator.sendBeacon(`${root()}/page/leave`, view));
  addEventListener("beforeunload", (event) => {
    if (find("#report-unsaved [data-unsaved='true'], #report-unsaved[data-unsaved='true']"))
      event.preventDefault();
  });

  // ---- Photos: one road for the file dialog, the clipboard, a drop and the camera; one at a time,
  // in order, so that none overtakes another.

  let road = Promise.resolve();

  function take(files) {
    const photos = [...files];
    if (!photos.length) return;
    if (!find("#main #composer")) return tell("agree_first");
    photos.forEach((file) => {
      road = road.then(() => takeOne(file)).catch(() => tell("not_sent"));
    });
  }

  async function takeOne(file) {
    // Not left to the server: it would cut the connection, which looks like a lost one.
    if (file.size > LARGEST) return tell("too_large");
    const line = find("#waiting");
    line?.setAttribute("data-sending", `${text("sending")} ${file.name}`);
    // Sent again when the answer was lost on its way, a photo is known by its number.
    const headers = {
      "x-skingpt4-name": encodeURIComponent(file.name), "x-skingpt4-photo": String(Math.random()),
    };
    const answer = await ask("photos", {method: "POST", body: file, headers});
    line?.removeAttribute("data-sending");
    if (answer.status === 404) return end();
    if (!answer.ok && answer.status !== 422) tell(answer.status === 413 ? "too_large" : "not_sent");
    look(); // not waited for: the next photo is not to wait for an answer
    // Whoever has gone on to something else meanwhile stays there.
    if (document.activeElement === document.body) find("#composer textarea")?.focus({preventScroll: true});
  }

  const dialog = (accept) => {
    const input = Object.assign(document.createElement("input"), {type: "file", ...accept});
    input.addEventListener("change", () => take(input.files));
    input.click();
  };
  const IMAGES = "image/*,.heic,.heif,.hif,.avif";
  const choose = () => dialog({accept: IMAGES, multiple: true});

  // Gradio's composer would send files by its own way.
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("#composer input[type=file]")) return;
    event.stopImmediatePropagation();
    take(event.target.files);
    event.target.value = "";
  }, true);
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    take(event.clipboardData.files);
  }, true);
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      const isOver = kind === "dragenter" || kind === "dragover";
      document.documentElement.classList.toggle("dropping", isOver);
      if (kind === "drop") take(event.dataTransfer.files);
    }, true);

  // ---- The camera: a phone's own by the file dialog, a computer's in a dialog of the page.

  const isPhone = () => matchMedia("(pointer: coarse)").matches;

  async function takePicture() {
    if (isPhone()) return dialog({accept: "image/*", capture: "environment"});
    if (!navigator.mediaDevices) return tell(isSecureContext ? "no_camera" : "insecure");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 1920}}});
    } catch {
      return tell("no_camera");
    }
    const [box, video] = [open("camera"), document.createElement("video")];
    Object.assign(video, {srcObject: stream, autoplay: true, muted: true, playsInline: true});
    box.body.append(video);
    box.add("shoot", () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => take([new File([blob], "camera.jpg")]), "image/jpeg", 0.95);
      box.close();
    });
    box.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()));
  }

  // ---- Dialogs: closed by Escape or their button; the focus then returns to where it was.

  function open(title) {
    const from = document.activeElement;
    const box = document.createElement("dialog");
    box.className = "page-dialog";
    box.setAttribute("aria-label", text(title));
    box.body = Object.assign(document.createElement("div"), {className: "body"});
    const row = Object.assign(document.createElement("div"), {className: "buttons"});
    box.append(box.body, row);
    box.add = (key, action) => {
      const button = Object.assign(document.createElement("button"), {textContent: text(key)});
      button.addEventListener("click", action);
      row.append(button);
      return button;
    };
    box.add("close", () => box.close());
    box.addEventListener("close", () => {
      box.remove();
      if (from?.isConnected) from.focus();
    });
    document.body.append(box);
    box.showModal();
    return box;
  }

  function zoom(image) {
    const box = open("zoom");
    box.classList.add("zoomed");
    box.body.append(Object.assign(new Image(), {src: image.src, alt: image.alt}));
  }

  // ---- Turning and cropping: the part to keep is drawn by mouse or finger, or moved by the arrows.

  function edit(figure) {
    const key = figure.querySelector("[data-local]").dataset.key;
    let turns = Number(figure.dataset.turns);
    let keep = figure.dataset.box.split(",").map(Number);
    const box = open("edit"), canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", text("crop"));
    box.body.append(Object.assign(document.createElement("p"), {textContent: text("crop")}), canvas);
    const image = Object.assign(new Image(), {src: figure.dataset.original});
    const clamp = (value) => Math.min(Math.max(value, 0), 1);

    function draw() {
      const [width, height] = turns % 2
        ? [image.naturalHeight, image.naturalWidth] : [image.naturalWidth, image.naturalHeight];
      [canvas.width, canvas.height] = [width, height];
      const context = canvas.getContext("2d");
      context.translate(width / 2, height / 2);
      context.rotate((turns * Math.PI) / 2);
      context.drawImage(image, -image.naturalWidth / 2, -image.naturalHeight / 2);
      context.resetTransform();
      const [left, top, right, bottom] = keep.map((edge, n) => edge * (n % 2 ? height : width));
      context.fillStyle = "rgba(0, 0, 0, 0.6)";
      context.beginPath();
      context.rect(0, 0, width, height);
      context.rect(left, top, right - left, bottom - top);
      context.fill("evenodd");
      context.strokeStyle = "white";
      context.lineWidth = Math.max(2, width / 200);
      context.strokeRect(left, top, right - left, bottom - top);
      canvas.dataset.box = keep.map((edge) => edge.toFixed(4)).join(",");
    }

    image.addEventListener("load", draw);
    const place = (event) => {
      const area = canvas.getBoundingClientRect();
      return [clamp((event.clientX - area.left) / area.width),
        clamp((event.clientY - area.top) / area.height)];
    };
    let start = null;
    canvas.addEventListener("pointerdown", (event) => {
      start = place(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!start) return;
      const [x, y] = place(event);
      keep = [Math.min(x, start[0]), Math.min(y, start[1]), Math.max(x, start[0]), Math.max(y, start[1])];
      draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      const [x, y] = place(event);
      // A tap is no crop of no size: it keeps half of the photo around it.
      if (Math.abs(x - start[0]) < 0.02 || Math.abs(y - start[1]) < 0.02) {
        const [left, top] = [x, y].map((middle) => Math.min(Math.max(middle - 0.25, 0), 0.5));
        keep = [left, top, left + 0.5, top + 0.5];
      }
      start = null;
      draw();
    });
    canvas.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
      if (!step) return;
      event.preventDefault();
      // With Shift the far corner moves, without it the whole part.
      const moved = [...keep];
      for (const n of event.shiftKey ? [2, 3] : [0, 1, 2, 3]) moved[n] += 0.05 * step[n % 2];
      if (moved.every((edge) => edge > -0.001 && edge < 1.001)
        && moved[2] - moved[0] > 0.1 && moved[3] - moved[1] > 0.1) keep = moved.map(clamp);
      draw();
    });
    const turn = (quarters) => {
      for (let n = 0; n < quarters; n++) {
        const [left, top, right, bottom] = keep; // the same part of the photo is kept
        keep = [1 - bottom, left, 1 - top, right];
        turns = (turns + 1) % 4;
      }
      draw();
    };
    box.add("turn_left", () => turn(3));
    box.add("turn_right", () => turn(1));
    box.add("whole", () => { turns = 0; keep = [0, 0, 1, 1]; draw(); });
    box.add("done", () => {
      const detail = {act: "edit", key, turns, box: keep.join(",")};
      find("#waiting .prose").dispatchEvent(new CustomEvent("act", {detail}));
      box.close();
    });
  }

  page.confirmDelete = () => {
    if (!confirm(text("delete_sure"))) throw new Error("not deleted");
    sessionStorage.removeItem(DRAFT);
    return [];
  };

  // ---- Clicks that the browser serves by itself.

  document.addEventListener("click", (event) => {
    const target = event.target;
    if (told && told !== "lost" && told !== "ended") tell(null); // it has been read
    const other = target.closest?.("[data-language]");
    if (other) return speak(other.dataset.language);
    if (target.closest?.("#choose")) return choose();
    if (target.closest?.("#take, #camera")) return takePicture();
    if (target.closest?.("[data-local=edit]")) return edit(target.closest("figure"));
    const image = target.closest?.(".zoom, #conversation .user button")?.querySelector("img");
    if (image) {
      event.preventDefault();
      event.stopImmediatePropagation();
      zoom(image);
    }
  }, true);

  // ---- What is being typed survives a reload.

  document.addEventListener("input", (event) => {
    if (event.target.matches?.("#composer textarea")) sessionStorage.setItem(DRAFT, event.target.value);
  });

  // ---- After Gradio has drawn something: names and roles that it does not give.

  // Parts of the page, what they are, and their names.
  const PARTS = [
    ["#talk", "region", "conversation"],
    ["#tools", "region", "tools"],
    ["#conversation [role=log]", "log", "conversation"],
    ["#conversation .user-row", "group", "you"],
    ["#conversation .bot-row", "group", "model"],
  ];
  const live = Object.assign(document.createElement("div"), {id: "live", className: "sr-only"});
  live.setAttribute("role", "status");
  let hasStarted = false, undoTimer = null;

  function dress() {
    if (!document.body) return;
    if (!live.isConnected) document.body.append(live);
    // Said once, by the region that stays.
    find("#status [role]")?.removeAttribute("role");
    const said = find("#status")?.innerText.trim() ?? "";
    if (live.textContent !== said) live.textContent = said;
    const box = find("#composer textarea");
    if (box) {
      box.setAttribute("aria-label", text("question"));
      if (!hasStarted) {
        hasStarted = true;
        const draft = sessionStorage.getItem(DRAFT);
        if (draft && !box.value) {
          box.value = draft;
          box.dispatchEvent(new Event("input", {bubbles: true}));
        }
      }
      if (!box.value) sessionStorage.removeItem(DRAFT);
    }
    for (const [part, role, name] of PARTS)
      document.querySelectorAll(part).forEach((element) => {
        element.setAttribute("role", role);
        element.setAttribute("aria-label", text(name));
      });
    // Gradio's own names are English, and on parts that cannot have one.
    document.querySelectorAll("#conversation [data-testid][aria-label]").forEach((message) =>
      message.removeAttribute("aria-label"));
    document.querySelectorAll("#conversation .user button img").forEach((image, number) => {
      image.alt = `${text("photo")} ${number + 1}`;
    });
    document.querySelectorAll(".label-wrap").forEach((button) => {
      button.setAttribute("aria-expanded", String(button.classList.contains("open")));
      button.querySelector(".icon")?.setAttribute("aria-hidden", "true");
    });
    if (isChinese)
      document.querySelectorAll("#conversation .bot .message:first-child").forEach((answer) => {
        answer.lang = "en";
      });
    document.querySelectorAll("[data-language]").forEach((button) =>
      button.setAttribute("aria-current", String(button.dataset.language === language)));
    // An undo is offered for ten seconds.
    if (!find("#undo")?.offsetParent) undoTimer = null;
    else undoTimer ??= setTimeout(() => { undoTimer = null; look(); }, 10500);
    if (document.documentElement.lang !== tag) document.documentElement.lang = tag;
  }

  // The button pressed is gone: who works by keyboard goes on where the page does.
  // Who presses on nothing keeps the focus nowhere, or a phone's keyboard would come up.
  document.addEventListener("focusout", (event) => setTimeout(() => {
    if (event.target.isConnected && event.target.offsetParent) return;
    if (document.activeElement !== document.body || document.querySelector("dialog[open]")) return;
    const next = find("#agree")?.offsetParent ? find("#agree")
      : find("#choose")?.offsetParent ? find("#choose") : find("#composer textarea");
    if (!document.hidden && document.hasFocus()) next?.focus({preventScroll: true});
  }, 150));

  new MutationObserver(dress).observe(document.documentElement,
    {childList: true, subtree: true, characterData: true, attributeFilter: ["class"]});
})();
