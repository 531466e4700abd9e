import { pause, told } from './api.js';
import { bar, button, column, element, facts, part, table } from './elements.js';
import { count, money, share, shown, words } from './format.js';

const LOOK_EVERY_MS = 1_000;
const MOST_DAYS = 60;

/** @typedef {import('./api.js').Api} Api */

/**
 * The report on data quality, made when it is asked for.
 * @param {Api} api
 * @param {(position: number) => void} check is told which entry somebody wants to be checked
 */
export function reportPart(api, check) {
  const form = part('report-form', HTMLFormElement);
  const state = part('report-state', HTMLElement);
  const progress = part('report-progress', HTMLProgressElement);
  const place = part('report', HTMLElement);
  let latest = 0;

  async function load() {
    const mine = ++latest;
    const range = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value) range.set(name, String(value));
    state.className = '';
    state.textContent = 'Going through the ledger…';
    place.replaceChildren();
    try {
      const report = await ended(await api.get(`/data-quality?${range}`), (body) => {
        if (mine !== latest) return;
        state.textContent = `Going through the ledger: ${progressText(body)}. This page shows the report when it is done.`;
        showProgress(progress, body);
      });
      if (mine !== latest) return;
      state.textContent = report.entries === 0 ? emptyText(range) : '';
      if (report.entries > 0) place.replaceChildren(...reportView(report, check));
    } catch (error) {
      if (mine !== latest) return;
      state.className = 'problem';
      state.textContent = `There is no report: ${told(error)}`;
    } finally {
      if (mine === latest) progress.hidden = true;
    }
  }

  /**
   * @param {import('./api.js').Answer} answer
   * @param {(body: any) => void} onProgress
   */
  async function ended(answer, onProgress) {
    let { body } = answer;
    while (body.state === 'waiting' || body.state === 'running') {
      onProgress(body);
      await pause(LOOK_EVERY_MS);
      ({ body } = await api.get(answer.location ?? `/data-quality/reports/${body.id}`));
    }
    if (body.state !== 'done') throw new Error(body.error ?? 'it failed.');
    return body;
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void load();
  });
  return {
    load,
    clear() {
      latest++;
      state.textContent = '';
      progress.hidden = true;
      place.replaceChildren();
    },
  };
}

/** @param {any} body */
function progressText({ done, total }) {
  return total > 0 ? `${count(done)} of ${count(total)} entries` : 'it is about to begin';
}

/**
 * @param {HTMLProgressElement} progress
 * @param {any} body
 */
function showProgress(progress, { done, total }) {
  progress.hidden = false;
  if (total > 0) {
    progress.max = total;
    progress.value = done;
  } else progress.removeAttribute('value');
}

/** @param {URLSearchParams} range */
function emptyText(range) {
  return range.size > 0
    ? 'No order falls on these days. Leave both empty for a report on all there is.'
    : 'The ledger is empty: no order has come yet.';
}

/**
 * @param {any} report
 * @param {(position: number) => void} check
 */
function reportView(report, check) {
  return [
    facts([
      ['Orders', count(report.entries)],
      ['Accepted', count(report.accepted)],
      ['Corrected', count(report.corrected)],
      ['Failed', `${count(report.failed)} (${share(report.failed_share)})`],
    ]),
    ...reasonsView(report.by_reason, check),
    ...trendView(report.trend),
    ...sendersView(report.worst_senders),
    ...correctionsView(report.corrections),
    ...suspectsView(report.suspects, check),
  ];
}

/**
 * @param {any[]} reasons
 * @param {(position: number) => void} check
 */
function reasonsView(reasons, check) {
  const title = element('h3', {}, 'Why orders failed');
  if (reasons.length === 0) return [title, element('p', { class: 'good' }, 'None failed.')];
  const longest = Math.max(...reasons.map((of) => of.count));
  return [
    title,
    table(
      'Failed orders by reason; an order may have several',
      [
        { title: 'Reason' },
        { title: 'Orders', number: true },
        { title: 'Share', number: true },
        { title: '', bar: true },
      ],
      reasons.map((of) => [
        element('span', { title: of.meaning }, words(of.reason)),
        count(of.count),
        share(of.share),
        bar(of.count / longest),
      ]),
    ),
    ...reasons.map((of) =>
      element(
        'details',
        {},
        element('summary', {}, `${words(of.reason)}: examples`),
        element('p', {}, of.meaning),
        element('ul', {}, ...of.samples.map((/** @type {any} */ sample) => entryLine(sample, check))),
      ),
    ),
  ];
}

/** @param {any[]} days */
function trendView(days) {
  const latest = days.slice(-MOST_DAYS);
  const worst = Math.max(...latest.map((day) => day.failed_share));
  const [first, last] = [latest[0].date, latest[latest.length - 1].date];
  return [
    element('h3', {}, 'Day by day'),
    element(
      'p',
      {},
      latest.length < days.length
        ? `The latest ${latest.length} of ${count(days.length)} days with orders, from ${first} to ${last}. `
        : '',
      worst === 0 ? 'On none of them an order failed.' : `On the worst of them ${share(worst)} of the orders failed.`,
    ),
    worst === 0
      ? ''
      : element(
          'div',
          { class: 'columns', role: 'img', 'aria-label': `Shares of failed orders by day, from ${first} to ${last}` },
          ...latest.map((day) => column(day.failed_share / worst, `${day.date}: ${share(day.failed_share)}`)),
        ),
    element(
      'details',
      {},
      element('summary', {}, 'The days in numbers'),
      table(
        'Orders by day',
        [
          { title: 'Day' },
          { title: 'Orders', number: true },
          { title: 'Corrected', number: true },
          { title: 'Failed', number: true },
          { title: 'Share', number: true },
        ],
        latest.map((day) => [
          day.date,
          count(day.entries),
          count(day.corrected),
          count(day.failed),
          share(day.failed_share),
        ]),
      ),
    ),
  ];
}

/** @param {any[]} senders */
function sendersView(senders) {
  const title = element('h3', {}, 'Worst senders');
  if (senders.length === 0) return [title, element('p', {}, 'No user whose id could be read sent a failed order.')];
  return [
    title,
    table(
      'Users with the most failed orders',
      [
        { title: 'User' },
        { title: 'Orders', number: true },
        { title: 'Failed', number: true },
        { title: 'Share', number: true },
        { title: 'Reasons' },
      ],
      senders.map((of) => [
        of.user_id,
        count(of.entries),
        count(of.failed),
        share(of.failed_share),
        of.reasons.map((/** @type {any} */ each) => `${words(each.reason)} (${count(each.count)})`).join(', '),
      ]),
    ),
  ];
}

/** @param {any} corrections */
function correctionsView(corrections) {
  const title = element('h3', {}, 'Corrected values');
  if (corrections.count === 0) return [title, element('p', { class: 'good' }, 'None had to be corrected.')];
  const { raised, lowered, largest, bias } = corrections;
  const leaning = { raised: 'up', lowered: 'down', none: 'neither way' }[/** @type {'raised'} */ (bias)];
  return [
    title,
    facts([
      ['Corrected', `${count(corrections.count)} (${share(corrections.share)})`],
      ['Without a claimed value', count(corrections.unclaimed)],
      ['Difference in all', money(corrections.total_delta)],
      ['The same without signs', money(corrections.total_absolute_delta)],
      ['Raised', `${count(raised.count)}, by ${money(raised.delta)}`],
      ['Lowered', `${count(lowered.count)}, by ${money(lowered.delta)}`],
      ['They lean', leaning],
      [
        'Largest',
        largest &&
          `${money(largest.delta)}: ${largest.order_id} at position ${largest.position}, claimed ${money(largest.claimed_value)}, worth ${money(largest.order_value)}`,
      ],
    ]),
  ];
}

/**
 * @param {any} suspects
 * @param {(position: number) => void} check
 */
function suspectsView(suspects, check) {
  const title = element('h3', {}, 'Suspects: they pass every rule, but stand out');
  if (suspects.items.length === 0) return [title, element('p', { class: 'good' }, 'No order stands out.')];
  const kinds = Object.entries(suspects.counts).map(([kind, many]) => {
    const items = suspects.items.filter((/** @type {any} */ item) => item.kind === kind);
    if (items.length === 0) return '';
    return element(
      'details',
      {},
      element('summary', {}, `${words(kind)}: ${count(many)}`),
      many > items.length ? element('p', { class: 'faint' }, `The ${items.length} most striking.`) : null,
      element('ul', {}, ...items.map((/** @type {any} */ item) => suspectLine(item, check))),
    );
  });
  return [title, ...kinds];
}

/**
 * @param {any} item
 * @param {(position: number) => void} check
 */
function suspectLine(item, check) {
  const line = entryLine(item, check);
  line.append(element('div', {}, item.explanation), evidenceView(item.evidence));
  return line;
}

/**
 * @param {any} entry
 * @param {(position: number) => void} check
 */
function entryLine({ position, order_id, user_id }, check) {
  const name = `Position ${position}: ${order_id ?? 'no order id'}, ${user_id ?? 'no user id'} `;
  const press = button('Check', () => check(position), { 'aria-label': `Check position ${position}` });
  return element('li', {}, name, press);
}

/**
 * What speaks for a suspicion.
 * @param {Record<string, unknown>} evidence
 */
export function evidenceView(evidence) {
  const told = Object.entries(evidence).map(([name, value]) => `${words(name)}: ${shown(value)}`);
  return element('small', {}, told.join(' · '));
}
