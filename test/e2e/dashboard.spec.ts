import { FindingsSchedule } from '../../src/data-quality/findings/findings-schedule.worker.js';
import { QualityReportController } from '../../src/data-quality/report/quality-report.controller.js';
import { QualityReports } from '../../src/data-quality/report/quality-reports.service.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { ADMIN, anAccount, SECURED } from '../support/accounts.js';
import { RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { aModelAnswer, says, StubModel } from '../support/language-model.js';
import { anOrderEvent } from '../support/order-events.js';
import { OpenPage } from '../support/page.js';

const HOSTILE = '<img src=x onerror="document.title=1">';

let page: OpenPage;

afterEach(async () => {
  expect(page.faults).toEqual([]);
  await page.close();
});

async function open(service: RunningService): Promise<void> {
  page = await OpenPage.of(service, '/dashboard');
}

/** Sends an order and waits for its entry. @returns its position */
async function stored(service: RunningService, order: object | string): Promise<number> {
  await service.send(order);
  await service.settled();
  return (await service.app.get(Ledger).head()).position;
}

describe('The dashboard', () => {
  let model: StubModel;
  let service: RunningService;

  beforeAll(async () => {
    model = await StubModel.start();
    const environment = { ...model.environment, ORDER_VALUE_MISMATCH: 'reject' };
    service = await RunningService.ready({ environment });
  });

  beforeEach(() => model.will(says(aModelAnswer())));

  afterAll(async () => {
    await service.stop();
    await model.stop();
  });

  it('says that nothing has come yet', async () => {
    await open(service);
    await eventually(() => {
      expect(page.text('figures-state')).toBe('No order has come yet. POST /produce sends some.');
      expect(page.text('report-state')).toBe('The ledger is empty: no order has come yet.');
      expect(page.text('findings-state')).toContain('Nothing was found yet.');
      expect(page.text('health-state')).toBe('Every part is up.');
      expect(page.text('health-parts')).toContain('ledger: up');
    });
  });

  it('is served with a policy that runs no script but its own, and loads what it names', async () => {
    const { headers, body } = await service.get('/dashboard');
    expect(headers.get('content-type')).toBe('text/html; charset=utf-8');
    const policy = headers.get('content-security-policy')!.split(';');
    expect(policy).toEqual(
      expect.arrayContaining(["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"]),
    );
    expect(policy).toEqual(expect.arrayContaining(["require-trusted-types-for 'script'", "frame-ancestors 'none'"]));
    expect(body).not.toMatch(/ on\w+=|style=|<script>|<style|https?:/);
    const named = [...body.matchAll(/(?:src|href)="(\/dashboard\/[^"]+)"/g)].map(([, path]) => path as string);
    expect(named).toHaveLength(3);
    for (const path of named) expect((await service.get(path)).status).toBe(200);
    expect((await service.get('/dashboard/main.js')).headers.get('content-type')).toMatch(/^text\/javascript/);
    for (const path of ['/dashboard/none.js', '/dashboard/..%2fdashboard.controller.ts', '/dashboard/constructor']) {
      expect(await service.get(path)).toMatchObject({ status: 404, body: { code: 'not_found' } });
    }
    await open(service);
  });

  it('shows figures, why orders failed, who sent them, and what stands out', async () => {
    const one = anOrderEvent({ user_id: 'U5', order_timestamp: '2026-01-15T12:00:00Z' });
    await stored(service, one);
    await stored(service, { ...one, order_id: `${one.order_id}B`, order_timestamp: '2026-01-15T12:02:00Z' });
    const position = await stored(service, anOrderEvent({ user_id: 'U6', order_value: 11 }));
    await open(service);
    await eventually(() => {
      expect(page.text('figures')).toMatch(/Orders that count2Revenue20\.00/);
      const report = page.text('report');
      expect(report).toMatch(/Failed1 \(33\.3%\)/);
      expect(report).toMatch(/order value mismatch1100%/);
      expect(report).toContain('2026-01-153');
      expect(report).toMatch(/U611100%order value mismatch \(1\)/);
      expect(report).toContain('near duplicate: 1');
      expect(report).toContain('None had to be corrected.');
    });
    page.press(`Check position ${position}`, 'report');
    await eventually(() => expect(page.text('check')).toContain('The rules: failed'));
    expect(page.part('check-subject')).toMatchObject({ value: String(position) });
  });

  it('checks what somebody typed: an order, an order id, a position, or none of these', async () => {
    await open(service);
    const checked = async (typed: string): Promise<string> => {
      page.fill('check-subject', typed);
      page.press('Check', 'check-form');
      expect(page.text('check-state')).not.toBe('Checked.');
      await eventually(() => expect(page.text('check-state')).not.toBe('Checking…'));
      return page.text('check-state') + page.text('check');
    };
    await eventually(() => expect(page.part('inside').hidden).toBe(false));
    const order = JSON.stringify(anOrderEvent({ order_value: 11 }));
    expect(await checked(` ${order}\n`)).toMatch(/^Checked\.The rules: failed/);
    expect(await checked('1')).toMatch(/^Checked\.The rules: accepted/);
    const { order_id } = (await service.get('/order-events/1')).body;
    expect(await checked(order_id)).toMatch(/^Checked\.The rules: accepted/);
    expect(await checked('999999')).toBe('The ledger has no position 999999.');
    expect(page.part('check-subject').getAttribute('aria-invalid')).toBe('true');
    expect(await checked('{"order_id": ')).toMatch(/^This begins like JSON, but is none/);
    expect(await checked('[1]')).toMatch(/^order: must be an order event$/);
  });

  it('shows findings with both verdicts, and repairs at the press of a button', async () => {
    await service.app.get(FindingsSchedule).check();
    model.will(
      says(
        aModelAnswer({
          valid: true,
          value_equals_sum: true,
          inconsistencies: [{ field: 'shipping_address', problem: `Not there: ${HOSTILE}` }],
        }),
      ),
    );
    const failing = anOrderEvent({ user_id: 'U6', order_value: 12 });
    const position = await stored(service, failing);
    await service.app.get(FindingsSchedule).check();
    await open(service);
    await eventually(() =>
      expect(page.text('findings')).toContain(`Position ${position}: ${failing.order_id}, failed`),
    );
    const [finding] = page.document.querySelectorAll('#findings article');
    expect(finding!.textContent).toMatch(/The rules: failed.*order value mismatch/);
    expect(finding!.textContent).toContain('The model (fixture-model): valid');
    expect(finding!.textContent).toContain('Where they disagree, and the rules prevail');
    expect(finding!.textContent).toContain(HOSTILE);
    expect(finding!.textContent).toMatch(/Proposed fix, by the rules.*order_value1210/);

    page.press('Repair', 'findings');
    await eventually(() => expect(finding!.textContent).toMatch(/Repaired: the order counts at position \d+\./));
    const { repaired_by } = (await service.get(`/order-events/${position}`)).body;
    expect(repaired_by).not.toBeNull();
    expect(await service.get('/repairs?limit=1')).toMatchObject({
      body: { items: [{ position, state: 'repaired', requested_by: 'local-operator' }] },
    });
    page.press('Show the latest', 'findings-form');
    await eventually(() => expect(page.text('findings')).toContain(`Repaired since, by position ${repaired_by}.`));
  });

  it('says why an order could not be repaired', async () => {
    const position = await stored(service, anOrderEvent({ order_value: 13 }));
    await open(service);
    await eventually(() => expect(page.part('inside').hidden).toBe(false));
    page.fill('check-subject', String(position));
    page.press('Check', 'check-form');
    await eventually(() => expect(page.text('check')).toContain('Proposed fix'));
    const { body } = await service.call('POST', `/order-events/${position}/retry`, { order: anOrderEvent() });
    await eventually(async () => expect((await service.get(`/repairs/${body.id}`)).body.state).toBe('repaired'));
    page.press('Repair', 'check');
    await eventually(() =>
      expect(page.text('check')).toMatch(/Not repaired: Position \d+ was repaired by position \d+\./),
    );
  });

  it('calls nothing but a retry, whatever it is told to call', async () => {
    const position = await stored(service, anOrderEvent({ order_value: 14 }));
    await open(service);
    await eventually(() => expect(page.part('inside').hidden).toBe(false));
    const real = page.window.fetch.bind(page.window);
    page.window.fetch = async (...given) => {
      const response = await real(...given);
      const text = (await response.text()).replace(`/order-events/${position}/retry`, '/stats/rebuild');
      return new page.window.Response(text, { status: response.status, headers: response.headers });
    };
    page.fill('check-subject', String(position));
    page.press('Check', 'check-form');
    await eventually(() => expect(page.text('check')).toContain('Proposed fix'));
    expect(() => page.press('Repair', 'check')).toThrow('There is no button');
  });

  it('takes nothing that a sender wrote for HTML', async () => {
    model.will(
      says(aModelAnswer({ fields: [{ field: 'user_id', present: true, correct_type: true, note: HOSTILE }] })),
    );
    const id = `ORD${HOSTILE}`;
    await stored(service, anOrderEvent({ order_id: id, user_id: `U${HOSTILE}`, order_value: 9 }));
    await stored(service, anOrderEvent({ order_timestamp: HOSTILE, user_id: `U${HOSTILE}` }));
    await service.app.get(FindingsSchedule).check();
    await open(service);
    await eventually(() => {
      expect(page.text('report')).toContain(`U${HOSTILE}`.toUpperCase());
      expect(page.text('findings')).toContain(id.toUpperCase());
    });
    page.fill('check-subject', JSON.stringify(anOrderEvent({ order_id: id, order_value: HOSTILE })));
    page.press('Check', 'check-form');
    await eventually(() => expect(page.text('check')).toContain(HOSTILE));
    expect(page.document.querySelectorAll('img, [onerror]')).toHaveLength(0);
    expect(page.document.title).toBe('Order pipeline');
  });

  it('tells how far a long report is, and shows it when it is done', async () => {
    const controller = service.app.get(QualityReportController);
    Object.assign(controller, { longestWaitMs: 0 });
    let go = (): void => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const ledger = service.app.get(Ledger);
    const read = ledger.reportedEntries.bind(ledger);
    const reading = jest.spyOn(ledger, 'reportedEntries').mockImplementation(async (...given) => {
      await gate;
      return read(...given);
    });
    try {
      await stored(service, anOrderEvent());
      await open(service);
      await eventually(() => {
        expect(page.text('report-state')).toMatch(/^Going through the ledger: 0 of \d+ entries/);
        expect(page.part('report-progress').hidden).toBe(false);
      });
      go();
      await eventually(() => expect(page.text('report')).toContain('Why orders failed'));
      expect(page.part('report-progress').hidden).toBe(true);
      expect(page.text('report-state')).toBe('');
    } finally {
      reading.mockRestore();
      Object.assign(controller, { longestWaitMs: 10_000 });
    }
  });

  it('says what is wrong where a part of it can not be shown', async () => {
    jest.spyOn(service.app.get(QualityReports), 'request').mockRejectedValueOnce(new TypeError('a fault'));
    await open(service);
    await eventually(() =>
      expect(page.text('report-state')).toMatch(/^There is no report: Something went wrong on our side/),
    );
    await eventually(() => expect(page.text('findings')).not.toBe(''));
    page.press('Report', 'report-form');
    await eventually(() => expect(page.text('report')).toContain('Why orders failed'));
  });

  it('names everything that can be used, and says aloud what changes', async () => {
    await open(service);
    await eventually(() => expect(page.text('findings')).not.toBe(''));
    const unnamed = [
      ...page.document.querySelectorAll('input, select, textarea, button, progress, section, article'),
    ].filter(
      (each) =>
        !each.getAttribute('aria-label') &&
        !each.closest('label') &&
        !page.document.querySelector(`label[for="${each.id}"]`) &&
        !page.document.getElementById(each.getAttribute('aria-labelledby') ?? '')?.textContent &&
        !(each.tagName === 'BUTTON' && each.textContent.trim()),
    );
    expect(unnamed.map((each) => each.outerHTML)).toEqual([]);
    for (const id of ['notice', 'health-state', 'figures-state', 'report-state', 'findings-state', 'check-state']) {
      expect(page.part(id).getAttribute('role')).toBe('status');
    }
    const ids = [...page.document.querySelectorAll('[id]')].map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});

describe('The dashboard of a secured service', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready({ environment: { ...SECURED, ORDER_VALUE_MISMATCH: 'reject' } });
    await stored(service, anOrderEvent({ user_id: 'U77', order_value: 11 }));
    await service.app.get(FindingsSchedule).check();
  });

  afterAll(() => service.stop());

  async function logIn({ email, password }: { email: string; password: string }): Promise<void> {
    await eventually(() => expect(page.part('log-in').hidden).toBe(false));
    page.fill('email', email);
    page.fill('password', password);
    page.press('Log in', 'log-in-form');
  }

  it('shows nothing but health until somebody logs in', async () => {
    await open(service);
    await eventually(() => expect(page.text('log-in')).toContain('Log in'));
    await eventually(() => expect(page.text('health-state')).toBe('Every part is up.'));
    expect(page.part('inside').hidden).toBe(true);
    expect(page.part('figures').textContent + page.part('report').textContent + page.part('findings').textContent).toBe(
      '',
    );
    await logIn({ ...ADMIN, password: 'a wrong password' });
    await eventually(() => expect(page.text('log-in-problem')).toContain('There is no account'));
    expect(page.part('inside').hidden).toBe(true);
  });

  it('lets an admin in, keeps the tokens to itself, and forgets everything at log-out', async () => {
    await open(service);
    await logIn(ADMIN);
    await eventually(() => expect(page.text('findings')).toContain('Position 1'));
    await eventually(() => expect(page.text('report')).toContain('U77'));
    expect(page.part('password')).toMatchObject({ value: '' });
    expect(page.document.cookie + JSON.stringify({ ...page.window.localStorage, ...page.window.sessionStorage })).toBe(
      '{}',
    );
    page.press('Repair', 'findings');
    await eventually(() => expect(page.text('findings')).toContain('Repaired: the order counts at position'));
    page.part('log-out').click();
    expect(page.allText).not.toMatch(/U77|Position 1/);
    expect(page.part('findings').textContent + page.part('report').textContent + page.part('check').textContent).toBe(
      '',
    );
    expect(page.text('notice')).toBe('You have logged out.');
  });

  it('lets an analyst read and check, and says that repairing is not theirs', async () => {
    await stored(service, anOrderEvent({ order_value: 11 }));
    await service.app.get(FindingsSchedule).check();
    await open(service);
    await logIn(await anAccount(service, 'analyst'));
    await eventually(() => expect(page.text('findings')).toContain('You may not repair orders'));
    expect(() => page.press('Repair', 'findings')).toThrow('There is no button');
  });

  it('tells a customer that it is not for them', async () => {
    await open(service);
    await logIn(await anAccount(service, 'customer'));
    await eventually(() => expect(page.text('notice')).toContain('needs the role analyst or admin'));
    expect(page.part('inside').hidden).toBe(true);
  });

  it('gets new tokens where the old ones are over, once for all that wait, and asks to log in where it can not', async () => {
    await open(service);
    const real = page.window.fetch.bind(page.window);
    let isOver = false;
    const asked: string[] = [];
    page.window.fetch = async (url: URL, { headers, ...rest }: { headers: Record<string, string> }) => {
      asked.push(url.pathname);
      if (url.pathname.endsWith('/refresh')) isOver = false;
      return real(url, {
        ...rest,
        headers: { ...headers, ...(isOver && headers.authorization && { authorization: 'Bearer x' }) },
      });
    };
    await logIn(ADMIN);
    await eventually(() => expect(page.text('findings')).toContain('Position'));
    isOver = true;
    asked.length = 0;
    page.press('Report', 'report-form');
    page.press('Show the latest', 'findings-form');
    await eventually(() => {
      expect(page.text('findings')).toContain('Position');
      expect(page.text('report')).toContain('Why orders failed');
    });
    expect(asked.filter((path) => path.endsWith('/refresh'))).toHaveLength(1);

    page.window.fetch = async (url: URL, { headers, ...rest }: { headers: Record<string, string> }) =>
      real(url, {
        ...rest,
        ...(url.pathname.endsWith('/refresh') && { body: '{"refresh_token": "opr_none"}' }),
        headers: { ...headers, ...(headers.authorization && { authorization: 'Bearer x' }) },
      });
    page.press('Report', 'report-form');
    await eventually(() => expect(page.text('notice')).toBe('Your log-in is over. Log in again.'));
    expect(page.part('inside').hidden).toBe(true);
    expect(page.part('log-in').hidden).toBe(false);
  });
});
