// The live picture: takes frames from the console's websocket, draws them with the tip's trace and
// says over the picture itself whether it is to be trusted. Tells the console when a frame is
// shown; the console sends no more than a few ahead, so that a slow browser skips and never lags.
(() => {
  'use strict';
  const silence = 1000;  // ms without a word after which the console counts as gone
  let socket = null, heard = 0, told = {}, picture = null, shown = 0, recent = [];
  let drawn = 0, gaps = [0, 0];  // ms: when the picture was drawn, the last times between two

  function connect() {
    if (document.hidden || (socket && socket.readyState < 2)) return;
    const scheme = location.protocol === 'https:' ? 'wss://' : 'ws://';
    socket = new WebSocket(scheme + location.host + '/console/stream');
    socket.binaryType = 'arraybuffer';
    socket.onmessage = receive;
  }

  async function receive(event) {
    const from = event.target;
    heard = performance.now();
    if (typeof event.data === 'string') {
      told = {...told, ...JSON.parse(event.data)};
      mark();
      return;
    }
    const length = new DataView(event.data).getUint32(0);
    const text = new TextDecoder().decode(new Uint8Array(event.data, 4, length));
    const jpeg = new Blob([new Uint8Array(event.data, 4 + length)], {type: 'image/jpeg'});
    try {
      const next = await createImageBitmap(jpeg);
      if (picture) picture.close();
      picture = next;
      told = JSON.parse(text);
      draw();
      count();
    } finally {
      if (from.readyState === 1) from.send('shown');
    }
    mark();
  }

  function draw() {
    const canvas = document.getElementById('picture');
    if (!canvas) return;
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
      canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
    }
    const pen = canvas.getContext('2d');
    pen.drawImage(picture, 0, 0);
    if (window.fedefm.chosen('trace')) trace(pen, canvas);
    gaps = [gaps[1], performance.now() - drawn];
    drawn = performance.now();
    canvas.dataset.shown = ++shown;
    canvas.dataset.stamp = told.stamp;
    canvas.dataset.masked = told.masked;
  }

  function trace(pen, canvas) {
    const size = Math.max(canvas.width, canvas.height) / 512;
    pen.fillStyle = '#b6f09c';
    for (const [x, y, age] of told.tips || []) {
      pen.globalAlpha = Math.max(0.15, 1 - age / 6);
      pen.beginPath();
      pen.arc(x * canvas.width, y * canvas.height, 1.6 * size, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  function count() {
    const now = performance.now();
    recent.push(now);
    recent = recent.filter((at) => at > now - 3000);
    const place = document.getElementById('shown');
    if (place) place.textContent = `${(recent.length / 3).toFixed(1)} pictures/s shown`;
  }

  function verdict() {
    if (performance.now() - heard > silence) {
      return ['no-connection', 'NO CONNECTION TO THE CONSOLE \u2013 this picture is old'];
    }
    if (told.stale) {
      const age = told.mask_age === null ? 'there was never a mask'
        : `newest mask ${told.mask_age.toFixed(1)} s old`;
      return ['stale', `STALE \u2013 ${age}`];
    }
    if (!told.flowing) return ['not-live', '\u25a0 NOT LIVE \u2013 no frames are coming'];
    // Masks come, but is this picture of now? The smaller gap: one pause makes no slow source.
    const still = performance.now() - drawn;
    if (still > Math.max(1000, 3 * Math.min(...gaps))) {
      return ['stale', `STALE \u2013 no new picture for ${(still / 1000).toFixed(1)} s`];
    }
    if (!told.masked) return ['no-mask', '\u25b2 LIVE, WITHOUT MASK'];
    return ['live', `\u25cf LIVE \u2013 mask ${Math.round(told.age_ms)} ms after the image`];
  }

  function mark() {
    const box = document.getElementById('picture-box');
    const place = document.getElementById('verdict');
    if (!box || !place) return;
    const [kind, text] = verdict();
    if (box.dataset.verdict !== kind) {
      box.classList.remove(box.dataset.verdict);
      box.classList.add(kind);
      box.dataset.verdict = kind;
    }
    if (place.textContent !== text) place.textContent = text;
  }

  setInterval(() => {
    connect();
    mark();
  }, 250);
  document.addEventListener('visibilitychange', () => {
    // Nobody looks: the console need not draw.
    if (document.hidden && socket) socket.close();
    else connect();
  });
})();
