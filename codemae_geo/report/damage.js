'use strict';
for (const map of document.querySelectorAll('.map:not(.still)')) {
  const tools = map.previousElementSibling, range = map.querySelector('input');
  const choose = tools.querySelector('select'), blink = tools.querySelector('button');
  const keys = [...map.parentElement.querySelectorAll('.key')];
  const put = at => { map.style.setProperty('--at', at + '%'); };
  const show = kind => {
    map.dataset.show = kind;
    for (const key of keys) key.hidden = !key.dataset.for.split(' ').includes(kind);
  };
  if (range) range.addEventListener('input', () => put(range.value));
  choose.addEventListener('change', () => show(choose.value));
  show(choose.value);
  let timer = 0, after = false;
  if (blink) blink.addEventListener('click', () => {
    if (timer) { clearInterval(timer); timer = 0; put(range.value); return; }
    timer = setInterval(() => { after = !after; put(after ? 0 : 100); }, 700);
  });
}
