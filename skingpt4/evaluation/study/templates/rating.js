// Arrow keys move within an item, and the digits 1 to 5 answer it and go on to the next.
// Gradio gives every radio button a name of its own, so the browser does not do this itself.
() => {
  const radios = (group) => [...group.querySelectorAll('input[type=radio]:not(:disabled)')];
  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const choose = (radio) => { radio.focus(); radio.click(); };
  document.addEventListener('keydown', (event) => {
    const group = event.target.matches?.('input[type=radio]') && event.target.closest('fieldset');
    if (!group || event.ctrlKey || event.altKey || event.metaKey) return;
    const own = radios(group);
    if (event.key in STEPS) {
      const place = own.indexOf(event.target) + STEPS[event.key] + own.length;
      choose(own[place % own.length]);
    } else if (/^[1-5]$/.test(event.key) && group.matches('.item')) {
      choose(own.find((radio) => radio.value === event.key));
      const groups = [...document.querySelectorAll('fieldset.item')].filter((g) => g.offsetParent);
      const next = groups[groups.indexOf(group) + 1];
      if (next) radios(next)[0].focus();
    } else {
      return;
    }
    event.preventDefault();
  });
}
