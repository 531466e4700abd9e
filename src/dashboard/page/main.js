import { Api, Problem, told } from './api.js';
import { part } from './elements.js';
import { showFigures, showLive } from './figures.js';
import { findingsPart } from './findings.js';
import { checkPart } from './order-check.js';
import { reportPart } from './report.js';

const api = new Api();
const inside = part('inside', HTMLElement);
const logInSection = part('log-in', HTMLElement);
const logInForm = part('log-in-form', HTMLFormElement);
const logInProblem = part('log-in-problem', HTMLElement);
const logOutButton = part('log-out', HTMLButtonElement);
const notice = part('notice', HTMLElement);
const main = part('main', HTMLElement);
const figures = part('figures', HTMLElement);
const who = part('who', HTMLElement);

const check = checkPart(api);
const report = reportPart(api, (position) => check.ofEntry(position));
const findings = findingsPart(api);

/** Shows what whoever has logged in may see; where nobody has and nobody has to, that is everything. */
async function enter() {
  const { email, scopes } = await api.whoAmI();
  const mayRead = ['statistics:read', 'data-quality:read'].every((scope) => scopes.includes(scope));
  who.textContent = email ?? '';
  logOutButton.hidden = !api.isLoggedIn;
  logInSection.hidden = true;
  inside.hidden = !mayRead;
  notice.textContent = mayRead
    ? ''
    : 'This account may not see figures and data quality: that needs the role analyst or admin.';
  if (mayRead) await Promise.all([showFigures(api), report.load(), findings.load()]);
}

/**
 * Shows nothing any more but the way in.
 * @param {string} why
 */
function leave(why) {
  inside.hidden = true;
  figures.replaceChildren();
  for (const each of [check, report, findings]) each.clear();
  who.textContent = '';
  logOutButton.hidden = true;
  logInSection.hidden = false;
  notice.textContent = why;
}

logInForm.addEventListener('submit', (event) => {
  event.preventDefault();
  void logIn();
});

async function logIn() {
  const given = new FormData(logInForm);
  logInProblem.textContent = '';
  try {
    await api.logIn(String(given.get('email')), String(given.get('password')));
    logInForm.reset();
    await enter();
    main.focus();
  } catch (error) {
    logInProblem.textContent = told(error);
  }
}

logOutButton.addEventListener('click', () => {
  void api.logOut().catch(() => undefined);
  leave('You have logged out.');
});
api.onSignedOut = () => leave('Your log-in is over. Log in again.');

enter()
  .catch((error) => {
    if (error instanceof Problem && error.status === 401) leave('');
    else notice.textContent = `${told(error)} Reload the page to try again.`;
  })
  .finally(() => showLive(api));
