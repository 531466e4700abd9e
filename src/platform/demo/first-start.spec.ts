import { Logger } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import { loadConfig } from '../../shared/config.js';
import { type Database, DatabaseUnavailable } from '../database/database.js';
import { Readiness } from '../observability/readiness.js';
import type { DemoData, Planted } from './demo-data.js';
import { FirstStart } from './first-start.js';

const PLANTED: Planted = { accounts: [], warehouses: [{ id: 'EAST', state: 'made' }], products: [] };

let logged: string[];
let errors: string[];
let readiness: Readiness;
let demoData: { isUntouched: jest.Mock<Promise<boolean>>; plant: jest.Mock<Promise<Planted>> };
let waitUntilUp: jest.Mock<Promise<void>>;

beforeEach(() => {
  [logged, errors] = [[], []];
  jest.spyOn(Logger.prototype, 'log').mockImplementation((line: unknown) => void logged.push(String(line)));
  jest.spyOn(Logger.prototype, 'error').mockImplementation((line: unknown) => void errors.push(String(line)));
  readiness = new Readiness();
  demoData = { isUntouched: jest.fn().mockResolvedValue(true), plant: jest.fn().mockResolvedValue(PLANTED) };
  waitUntilUp = jest.fn().mockResolvedValue(undefined);
});
afterEach(() => jest.restoreAllMocks());

function begin(environment: Record<string, string> = {}): FirstStart {
  const config = loadConfig({ DEMO_DATA: 'on', ...environment });
  const database = { availability: { waitUntilUp } } as unknown as Database;
  const firstStart = new FirstStart(demoData as unknown as DemoData, database, readiness, config);
  firstStart.onApplicationBootstrap();
  return firstStart;
}

async function isReady(): Promise<unknown> {
  await setImmediate();
  return readiness.parts();
}

const READY = { demo_data: { up: true } };
const NOT_READY = { demo_data: { up: false } };

describe('The first start', () => {
  it('is not ready before the demo data is made', async () => {
    let resume!: (planted: Planted) => void;
    demoData.plant.mockReturnValue(new Promise((resolve) => (resume = resolve)));
    begin();
    expect(await isReady()).toEqual(NOT_READY);
    resume(PLANTED);
    expect(await isReady()).toEqual(READY);
    expect(demoData.plant).toHaveBeenCalledWith({ name: 'first-start', requestId: null }, false);
    expect(logged).toEqual([expect.stringContaining('Made demo data: 0 products in 1 warehouses')]);
  });

  it('makes nothing where something is, and is ready', async () => {
    demoData.isUntouched.mockResolvedValue(false);
    begin();
    expect(await isReady()).toEqual(READY);
    expect(demoData.plant).not.toHaveBeenCalled();
  });

  it('tries again when the database is back', async () => {
    demoData.isUntouched.mockRejectedValueOnce(new DatabaseUnavailable('away'));
    demoData.plant.mockRejectedValueOnce(new DatabaseUnavailable('away'));
    let isBack!: () => void;
    waitUntilUp.mockResolvedValueOnce().mockResolvedValueOnce();
    waitUntilUp.mockReturnValueOnce(new Promise((resolve) => (isBack = resolve)));
    begin();
    expect(await isReady()).toEqual(NOT_READY);
    isBack();
    expect(await isReady()).toEqual(READY);
    expect(demoData.plant).toHaveBeenCalledTimes(2);
    expect(errors).toEqual([]);
  });

  it('is ready without demo data where that can’t be made, and says so', async () => {
    demoData.plant.mockRejectedValue(new TypeError('x is not a function'));
    begin();
    expect(await isReady()).toEqual(READY);
    expect(errors).toEqual(['The demo data could not be made: x is not a function']);
  });

  it('does nothing where it is told not to', async () => {
    begin({ DEMO_DATA: 'off' });
    expect(await isReady()).toEqual({});
    expect(demoData.isUntouched).not.toHaveBeenCalled();
  });

  it('ends with the process while the database is away', async () => {
    waitUntilUp.mockImplementation(
      (signal?: AbortSignal) => new Promise((resolve) => signal!.addEventListener('abort', () => resolve())),
    );
    const firstStart = begin();
    await firstStart.onModuleDestroy();
    expect(await isReady()).toEqual(NOT_READY);
    expect(demoData.isUntouched).not.toHaveBeenCalled();
  });
});
