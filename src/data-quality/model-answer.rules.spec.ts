import { type ModelAnswer, presentable } from './model-answer.rules.js';

const ANSWER: ModelAnswer = {
  valid: true,
  fields: [],
  value_equals_sum: true,
  extracted: { user_id: null, order_value: null, order_timestamp: null },
  inconsistencies: [],
  fixes: [],
};

function problem(text: string, userId: { shown: string; real: string } | null): string {
  return presentable({ ...ANSWER, inconsistencies: [{ field: '', problem: text }] }, userId).inconsistencies[0]!
    .problem;
}

describe('presentable', () => {
  it.each([
    ['U9 is no user', 'U9', 'U7', 'U7 is no user'],
    ['U99 and XU9', 'U9', 'U7', 'U99 and XU9'],
    ['(U-xx.9)', 'U-xx.9', 'U-ab.7', '(U-ab.7)'],
    ['U9 costs', 'U9', 'U$&', 'U$& costs'],
    ['nothing', '', 'U7', 'nothing'],
  ])('puts into "%s" for %s %s', (text, shown, real, made) => {
    expect(problem(text, { shown, real })).toBe(made);
  });

  it('keeps the first word of a field, and texts without what moves a cursor or turns letters around', () => {
    const field = {
      field: 'user_id' as const,
      present: true,
      correct_type: true,
      note: 'a\u0000\u001b[31m\nb\u2028\u202ec',
    };
    const { fields } = presentable({ ...ANSWER, fields: [field, { ...field, present: false }] }, null);
    expect(fields).toEqual([{ ...field, note: 'a [31m b c' }]);
  });

  it('cuts what is too long', () => {
    expect(problem('x'.repeat(301), null)).toBe(`${'x'.repeat(299)}…`);
    expect(problem('😀'.repeat(200), null).isWellFormed()).toBe(true);
  });
});
