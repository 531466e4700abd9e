import { Problem, told } from './api.js';
import { element, facts, part } from './elements.js';
import { count, money, words } from './format.js';

const ASK_EVERY_MS = 5_000;

/** @typedef {import('./api.js').Api} Api */

/**
 * Shows health, and the figures to whom may see them, and keeps both up to date while the page is looked at.
 * @param {Api} api
 */
export function showLive(api) {
  const look = async () => {
    if (document.visibilityState !== 'hidden') {
      await Promise.all([showHealth(api), api.may('statistics:read') ? showFigures(api) : null]);
    }
    setTimeout(look, ASK_EVERY_MS);
  };
  void look();
}

/**
 * Shows the figures as they are now.
 * @param {Api} api
 */
export async function showFigures(api) {
  const state = part('figures-state', HTMLElement);
  const place = part('figures', HTMLElement);
  try {
    const { body } = await api.get('/stats/global');
    const figures = facts([
      ['Orders that count', count(body.total_orders)],
      ['Revenue', money(body.total_revenue)],
      ['Average order', money(body.average_order_value)],
      ['Users', count(body.unique_users)],
      ['Corrected orders', count(body.corrected_orders)],
      ['Failed orders', count(body.failed_orders)],
    ]);
    place.replaceChildren(...figures.children);
    say(state, body.total_orders + body.failed_orders === 0 ? 'No order has come yet. POST /produce sends some.' : '');
  } catch (error) {
    place.replaceChildren();
    say(state, `There are no figures right now: ${told(error)}`);
  }
}

/** @param {Api} api */
async function showHealth(api) {
  const state = part('health-state', HTMLElement);
  const list = part('health-parts', HTMLElement);
  try {
    const { body } = await api.get('/health');
    say(state, 'Every part is up.', 'good');
    list.replaceChildren(...partsOf(body.details));
  } catch (error) {
    say(state, told(error), 'bad');
    list.replaceChildren(...(error instanceof Problem ? partsOf(error.body.details) : []));
  }
}

/** @param {any} details */
function partsOf(details) {
  return Object.entries(details ?? {}).map(([name, { status }]) =>
    element('li', { class: status === 'up' ? 'good' : 'bad' }, `${words(name)}: ${status}`),
  );
}

/**
 * Says what is new, and nothing again: a screen reader would read it every time.
 * @param {HTMLElement} state
 * @param {string} text
 * @param {string} className
 */
function say(state, text, className = '') {
  if (state.textContent === text) return;
  state.textContent = text;
  state.className = className;
}
