// What every page of the console does in the browser: switches, keys, the sound of alarms.
(() => {
  'use strict';
  const defaults = {red: false, sound: false, trace: true};
  const words = {red: ['Dim', 'Dim off'], sound: ['Sound off', 'Sound on'],
                 trace: ['Trace off', 'Trace on']};
  const chosen = (name) => {
    const kept = localStorage.getItem('fedefm.' + name);
    return kept === null ? defaults[name] : kept === 'true';
  };
  let audio = null;

  function beep() {
    audio = audio || new AudioContext();
    audio.resume();
    const start = audio.currentTime;
    for (const [delay, pitch] of [[0, 880], [0.22, 660]]) {
      const tone = audio.createOscillator();
      const level = audio.createGain();
      tone.frequency.value = pitch;
      level.gain.setValueAtTime(0.25, start + delay);
      level.gain.exponentialRampToValueAtTime(0.001, start + delay + 0.2);
      tone.connect(level).connect(audio.destination);
      tone.start(start + delay);
      tone.stop(start + delay + 0.2);
    }
  }

  function show() {
    document.body.classList.toggle('red', chosen('red'));
    for (const button of document.querySelectorAll('[data-switch]')) {
      const name = button.dataset.switch;
      const on = chosen(name);
      button.classList.toggle('on', on);
      button.setAttribute('aria-pressed', on);
      const text = button.querySelector('.block') || button;
      if (text.textContent !== words[name][Number(on)]) text.textContent = words[name][Number(on)];
    }
    const active = document.querySelectorAll('.entry.alarm').length;
    const title = document.title.replace(/^\(\d+ ALARM\) /, '');
    const wanted = active ? `(${active} ALARM) ${title}` : title;
    if (document.title !== wanted) document.title = wanted;
  }

  window.fedefm = {
    chosen,
    beeps: 0,
    toggle(name) {
      localStorage.setItem('fedefm.' + name, !chosen(name));
      show();
      if (name === 'sound' && chosen('sound')) beep();  // what it will sound like
    },
  };

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const at = document.activeElement;
    if (at && (['INPUT', 'SELECT', 'TEXTAREA'].includes(at.tagName)
               || at.closest('.q-dialog, .q-menu, [role=combobox]'))) return;
    // Space and Enter press the button that has the focus.
    if (event.key === ' ' && at && at.closest('button, a, [role=switch]')) return;
    const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`)
      || [...document.querySelectorAll('[data-key]')].find((e) => e.dataset.key === event.key);
    if (!target || target.disabled || document.querySelector('.q-dialog')) return;
    event.preventDefault();
    target.click();
  });

  setInterval(show, 250);
  setInterval(() => {
    if (chosen('sound') && document.querySelector('.entry.loud, .picture-box.no-connection')) {
      window.fedefm.beeps += 1;
      beep();
    }
  }, 1500);
  document.addEventListener('DOMContentLoaded', show);
})();
