import { jsonIn, told } from './api.js';
import { element, facts, part, table } from './elements.js';
import { exact, money, shown, words, yesNo } from './format.js';
import { repairView } from './repair.js';

const BEGINS_JSON = ['{', '[', '"'];

/** @typedef {import('./api.js').Api} Api */

/**
 * The form that checks one order.
 * @param {Api} api
 */
export function checkPart(api) {
  const form = part('check-form', HTMLFormElement);
  const subject = part('check-subject', HTMLTextAreaElement);
  const state = part('check-state', HTMLElement);
  const place = part('check', HTMLElement);
  let latest = 0;

  async function check() {
    const mine = ++latest;
    place.replaceChildren();
    state.className = '';
    state.textContent = 'Checking…';
    subject.removeAttribute('aria-invalid');
    try {
      const { body } = await api.post('/data-quality/check', requestFor(subject.value));
      if (mine !== latest) return;
      state.textContent = 'Checked.';
      place.replaceChildren(checkView(api, body));
    } catch (error) {
      if (mine !== latest) return;
      state.className = 'problem';
      state.textContent = told(error);
      subject.setAttribute('aria-invalid', 'true');
    }
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void check();
  });
  return {
    /** @param {number} position */
    ofEntry(position) {
      subject.value = String(position);
      form.scrollIntoView();
      subject.focus();
      void check();
    },
    clear() {
      latest++;
      subject.value = '';
      state.textContent = '';
      place.replaceChildren();
    },
  };
}

/**
 * The body of the call for what somebody typed.
 * @param {string} typed
 */
function requestFor(typed) {
  const text = typed.trim();
  if (/^\d{1,15}$/.test(text)) return JSON.stringify({ position: Number(text) });
  if (!BEGINS_JSON.includes(text.charAt(0))) return JSON.stringify({ order_id: text });
  const order = jsonIn(text);
  if (order === null) throw new Error('This begins like JSON, but is none: look for a missing quote or bracket.');
  return JSON.stringify({ order });
}

/**
 * What a check of an order said.
 * @param {Api} api
 * @param {any} check
 * @param {number | null} repairedBy the entry that mended the order since
 */
export function checkView(api, check, repairedBy = null) {
  const { rules, model, disagreements, proposed_fix } = check;
  return element(
    'div',
    {},
    rulesView(rules),
    modelView(model, check.model_reason),
    fieldsView(rules.fields, model?.fields ?? []),
    model && model.inconsistencies.length > 0
      ? table(
          'What the model finds inconsistent',
          [{ title: 'Field' }, { title: 'Problem' }],
          model.inconsistencies.map((/** @type {any} */ of) => [of.field, of.problem]),
        )
      : null,
    disagreements.length > 0
      ? table(
          'Where they disagree, and the rules prevail',
          [{ title: 'About' }, { title: 'Rules' }, { title: 'Model' }],
          disagreements.map((/** @type {any} */ of) => [words(of.about), shown(of.rules), shown(of.model)]),
        )
      : null,
    fixView(api, proposed_fix, repairedBy),
  );
}

/** @param {any} rules */
function rulesView(rules) {
  const failed = rules.outcome === 'failed';
  return element(
    'div',
    {},
    element('h4', {}, 'The rules: ', element('span', { class: failed ? 'bad' : 'good' }, rules.outcome)),
    failed
      ? element(
          'ul',
          {},
          ...rules.reasons.map((/** @type {any} */ of) => element('li', {}, `${words(of.reason)}: ${of.meaning}`)),
        )
      : null,
    facts([
      ['Claimed value', money(rules.claimed_value)],
      ['Sum of the items', money(rules.computed_value)],
      ['Value that counts', money(rules.order_value)],
      ['Claimed value is the sum', yesNo(rules.value_equals_sum)],
    ]),
  );
}

/**
 * @param {any} model
 * @param {any} reason
 */
function modelView(model, reason) {
  if (!model) {
    return element(
      'div',
      {},
      element('h4', {}, 'The model: no verdict'),
      reason && element('p', {}, `${words(reason.code)}: ${reason.detail}`),
    );
  }
  const { user_id, order_value, order_timestamp } = model.extracted;
  return element(
    'div',
    {},
    element(
      'h4',
      {},
      `The model (${model.name}): `,
      element('span', { class: model.valid ? 'good' : 'bad' }, model.valid ? 'valid' : 'not valid'),
    ),
    facts([
      ['User', shown(user_id)],
      ['Value', shown(order_value)],
      ['Time', shown(order_timestamp)],
      ['Value is the sum', yesNo(model.value_equals_sum)],
    ]),
    element(
      'p',
      { class: 'faint' },
      `${model.from_cache ? 'Answered before for the same content. ' : ''}${
        model.personal_data_sent ? 'Personal data was sent to the model.' : 'No personal data was sent to the model.'
      }`,
    ),
  );
}

/**
 * @param {any[]} byRules
 * @param {any[]} byModel
 */
function fieldsView(byRules, byModel) {
  const ofModel = new Map(byModel.map((of) => [of.field, of]));
  return table(
    'Field by field',
    [
      { title: 'Field' },
      { title: 'There' },
      { title: 'Right type' },
      { title: 'Rules' },
      ...(byModel.length > 0 ? [{ title: 'Model' }] : []),
    ],
    byRules.map((of) => {
      const other = ofModel.get(of.field);
      const cells = [of.field, yesNo(of.present), yesNo(of.correct_type), of.reasons.map(words).join(', ')];
      if (byModel.length === 0) return cells;
      return [
        ...cells,
        other ? `there: ${yesNo(other.present)}, right type: ${yesNo(other.correct_type)}. ${other.note ?? ''}` : '–',
      ];
    }),
  );
}

/**
 * @param {Api} api
 * @param {any} fix
 * @param {number | null} repairedBy
 */
function fixView(api, fix, repairedBy) {
  if (!fix) return null;
  const { changes, by, would_be, apply, apply_reason } = fix;
  return element(
    'div',
    {},
    element('h4', {}, `Proposed fix, by the ${by.join(' and the ')}`),
    table(
      'What it changes',
      [{ title: 'Field' }, { title: 'Before' }, { title: 'After' }, { title: 'Why' }],
      changes.map((/** @type {any} */ of) => [
        of.field,
        element('code', {}, exact(of.before)),
        element('code', {}, exact(of.after)),
        `${shown(of.why)} (${of.by})`,
      ]),
    ),
    element('p', {}, `With it the order would be ${would_be.outcome}, worth ${money(would_be.order_value)}.`),
    repairedBy !== null
      ? element('p', { class: 'good' }, `Repaired since, by position ${repairedBy}.`)
      : apply
        ? repairView(api, apply)
        : element('p', { class: 'faint' }, shown(apply_reason)),
  );
}
