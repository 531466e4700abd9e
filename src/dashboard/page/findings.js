import { told } from './api.js';
import { element, part } from './elements.js';
import { time, words } from './format.js';
import { checkView } from './order-check.js';
import { evidenceView } from './report.js';

const PER_PAGE = 10;

/** @typedef {import('./api.js').Api} Api */

/**
 * What scheduled checks found, newest first.
 * @param {Api} api
 */
export function findingsPart(api) {
  const form = part('findings-form', HTMLFormElement);
  const state = part('findings-state', HTMLElement);
  const place = part('findings', HTMLElement);
  const more = part('findings-more', HTMLButtonElement);
  /** @type {string | null} */
  let cursor = null;
  let latest = 0;

  async function load() {
    cursor = null;
    place.replaceChildren();
    await loadMore();
  }

  async function loadMore() {
    const mine = ++latest;
    const query = new URLSearchParams({ limit: String(PER_PAGE) });
    const cause = new FormData(form).get('cause');
    if (cause) query.set('cause', String(cause));
    if (cursor) query.set('cursor', cursor);
    state.className = '';
    state.textContent = 'Loading…';
    more.disabled = true;
    try {
      const { body } = await api.get(`/data-quality/findings?${query}`);
      if (mine !== latest) return;
      cursor = body.next_cursor;
      place.append(...body.items.map((/** @type {any} */ finding) => findingView(api, finding)));
      more.hidden = cursor === null;
      state.textContent = place.childElementCount > 0 ? '' : EMPTY;
    } catch (error) {
      if (mine !== latest) return;
      state.className = 'problem';
      state.textContent = `There are no findings to show: ${told(error)}`;
    } finally {
      if (mine === latest) more.disabled = false;
    }
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void load();
  });
  more.addEventListener('click', () => void loadMore());
  return {
    load,
    clear() {
      latest++;
      state.textContent = '';
      more.hidden = true;
      place.replaceChildren();
    },
  };
}

const EMPTY =
  'Nothing was found yet. Orders are checked by themselves where DATA_QUALITY_CHECK_MINUTES is set; any one can be checked below.';

/**
 * @param {Api} api
 * @param {any} finding
 */
function findingView(api, { id, position, order_id, cause, found_at, suspects, check, repaired_by }) {
  const title = `finding-${id}`;
  return element(
    'article',
    { 'aria-labelledby': title },
    element('h3', { id: title }, `Position ${position}: ${order_id ?? 'no order id'}, ${cause}`),
    element('p', { class: 'faint' }, `Checked ${time(found_at)}`),
    suspects.length > 0
      ? element(
          'ul',
          {},
          ...suspects.map((/** @type {any} */ of) =>
            element('li', {}, `${words(of.kind)}: ${of.explanation} `, evidenceView(of.evidence)),
          ),
        )
      : null,
    checkView(api, check, repaired_by),
  );
}
