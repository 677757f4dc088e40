"use strict";
// The search runs in a worker, and a browser starts none for a page opened by double click. There,
// its script runs in a hidden frame, with the messages of a worker.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.append(frame);
      const inside = frame.contentWindow;
      const send = inside.postMessage.bind(inside);
      inside.postMessage = (data) =>
        this.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) }));
      const loaded = new Promise((resolve) => {
        const script = inside.document.createElement("script");
        script.addEventListener("load", resolve);
        script.src = new URL(url, location.href).href;
        inside.document.body.append(script);
      });
      this.postMessage = (data) => loaded.then(() => send(data, "*"));
    }
  };
}
