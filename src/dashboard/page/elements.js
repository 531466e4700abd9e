/**
 * Makes an element. Texts become text nodes, whatever is in them, so that nothing of an order is ever read as HTML.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string | number | boolean>} [attributes] `false` leaves one out
 * @param {...(Node | string | number | null)} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(attribute, value === true ? '' : String(value));
  }
  for (const child of children) {
    if (child !== null) made.append(typeof child === 'number' ? String(child) : child);
  }
  return made;
}

/**
 * A part of the page as it was loaded.
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`The page has no ${id}`);
  return found;
}

/**
 * @param {string} text
 * @param {() => void} pressed
 * @param {Record<string, string>} [attributes]
 */
export function button(text, pressed, attributes = {}) {
  const made = element('button', { type: 'button', ...attributes }, text);
  made.addEventListener('click', pressed);
  return made;
}

/**
 * A table that can be scrolled where it is wider than the screen.
 * @param {string} caption
 * @param {{ title: string, number?: boolean, bar?: boolean }[]} columns
 * @param {(Node | string | number | null)[][]} rows
 */
export function table(caption, columns, rows) {
  /**
   * @param {{ number?: boolean, bar?: boolean }} column
   * @returns {Record<string, string>}
   */
  const classOf = ({ number, bar }) => (number ? { class: 'number' } : bar ? { class: 'bar' } : {});
  return element(
    'div',
    { class: 'scroll', role: 'group', 'aria-label': caption, tabindex: 0 },
    element(
      'table',
      {},
      element('caption', {}, caption),
      element(
        'thead',
        {},
        element(
          'tr',
          {},
          ...columns.map((column) => element('th', { scope: 'col', ...classOf(column) }, column.title)),
        ),
      ),
      element(
        'tbody',
        {},
        ...rows.map((cells) =>
          element(
            'tr',
            {},
            ...cells.map((cell, index) =>
              index === 0
                ? element('th', { scope: 'row', ...classOf(columns[index]) }, cell)
                : element('td', classOf(columns[index]), cell),
            ),
          ),
        ),
      ),
    ),
  );
}

/**
 * A bar that says nothing which the numbers beside it do not say.
 * @param {number} share from 0 to 1 of the longest
 */
export function bar(share) {
  const made = element('div', { 'aria-hidden': 'true' });
  made.style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
  return made;
}

/**
 * One upright bar of a chart.
 * @param {number} share from 0 to 1 of the highest
 * @param {string} title
 */
export function column(share, title) {
  const made = element('div', { title });
  made.style.height = `${share * 100}%`;
  return made;
}

/**
 * A list of names and values; those without a value are left out.
 * @param {[string, Node | string | number | null][]} entries
 * @param {string} [className]
 */
export function facts(entries, className = 'tiles') {
  const told = entries.filter(([, value]) => value !== null);
  return element(
    'dl',
    { class: className },
    ...told.map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value))),
  );
}
