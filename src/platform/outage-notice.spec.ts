import { Logger } from '@nestjs/common';
import { OutageNotice, STEADY_MS } from './outage-notice.js';

const WARNED = 'It is down';
const BACK = 'It is up';

describe('A notice of an outage', () => {
  let said: string[];
  let notice: OutageNotice;

  beforeEach(() => {
    jest.useFakeTimers();
    said = [];
    const logger = new Logger('a test');
    for (const level of ['log', 'warn'] as const) {
      jest.spyOn(logger, level).mockImplementation((...lines: unknown[]) => void said.push(String(lines[0])));
    }
    notice = new OutageNotice(logger, BACK);
  });

  afterEach(() => {
    notice.stop();
    jest.useRealTimers();
  });

  it('is given once when it begins and once when it is over, at once', () => {
    notice.isWell();
    for (let attempt = 0; attempt < 5; attempt++) notice.fails(WARNED);
    notice.isWell();
    notice.isWell();
    expect(said).toEqual([WARNED, BACK]);
  });

  it('is given anew where that was well for long', () => {
    for (let outage = 0; outage < 3; outage++) {
      notice.fails(WARNED);
      notice.isWell();
      jest.advanceTimersByTime(STEADY_MS);
    }
    expect(said).toEqual([WARNED, BACK, WARNED, BACK, WARNED, BACK]);
  });

  it('is given of the second of many short ones, and then when the last was over for long', () => {
    for (let outage = 0; outage < 50; outage++) {
      notice.fails(WARNED);
      jest.advanceTimersByTime(STEADY_MS / 2);
      notice.isWell();
      jest.advanceTimersByTime(STEADY_MS / 2);
      notice.isWell();
    }
    const again = expect.stringMatching(/^It is down; it comes and goes, /);
    expect(said).toEqual([WARNED, BACK, again]);
    jest.advanceTimersByTime(STEADY_MS / 2);
    expect(said).toEqual([WARNED, BACK, again, BACK]);
  });

  it('is none after it was stopped', () => {
    for (let outage = 0; outage < 2; outage++) {
      notice.fails(WARNED);
      notice.isWell();
    }
    notice.stop();
    jest.advanceTimersByTime(2 * STEADY_MS);
    expect(said).toHaveLength(3);
  });
});
