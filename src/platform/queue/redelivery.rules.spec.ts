import { redeliverySeconds, spreadRedeliverySeconds } from './redelivery.rules.js';

describe('What could not be processed is delivered again', () => {
  it('later each time, up to 15 minutes', () => {
    expect([1, 2, 3, 8, 9, 1_000].map(redeliverySeconds)).toEqual([5, 10, 20, 640, 900, 900]);
  });

  it('at a time of its own, at most half earlier', () => {
    expect([0, 0.5, 1].map((random) => spreadRedeliverySeconds(3, random))).toEqual([20, 15, 10]);
    expect(spreadRedeliverySeconds(1, 1)).toBe(3);
  });
});
