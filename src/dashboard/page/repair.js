import { pause, told } from './api.js';
import { button, element } from './elements.js';
import { words } from './format.js';

const LOOK_EVERY_MS = 500;
/** The one call that a proposed fix may be; whatever else a stored text says is not made. */
const RETRY = /^\/order-events\/\d{1,15}\/retry$/;

/** @typedef {import('./api.js').Api} Api */

/**
 * The button that repairs a failed order through the queue, and below it how that goes.
 * @param {Api} api
 * @param {{ method: string, path: string, body: unknown }} apply
 * @param {(repaired: boolean) => void} [onEnded]
 */
export function repairView(api, apply, onEnded = () => {}) {
  const state = element('p', { role: 'status', tabindex: -1 });
  if (apply.method !== 'POST' || !RETRY.test(apply.path)) return state;
  if (!api.may('order-events:repair')) {
    state.textContent = 'You may not repair orders: that needs the scope order-events:repair.';
    return state;
  }

  async function repair() {
    press.disabled = true;
    state.className = '';
    state.textContent = 'Asking for the repair…';
    state.focus();
    try {
      const { body } = await api.post(apply.path, JSON.stringify(apply.body));
      const ended = await watch(body);
      show(ended);
      onEnded(ended.state === 'repaired');
    } catch (error) {
      state.className = 'problem';
      state.textContent = `Not repaired: ${told(error)}`;
      press.disabled = false;
    }
  }

  /** @param {any} repair */
  async function watch(repair) {
    let now = repair;
    while (now.state === 'pending') {
      state.textContent = 'The order is on its way through the queue…';
      await pause(LOOK_EVERY_MS);
      ({ body: now } = await api.get(`/repairs/${repair.id}`));
    }
    return now;
  }

  /** @param {any} repair */
  function show({ state: end, counted_position, reasons }) {
    const repaired = end === 'repaired';
    press.disabled = repaired;
    state.className = repaired ? 'good' : 'problem';
    state.textContent = repaired
      ? `Repaired: the order counts at position ${counted_position}.`
      : `It failed again: ${reasons.map(words).join(', ')}.`;
  }

  const press = button('Repair', () => void repair());
  return element('div', {}, press, state);
}
