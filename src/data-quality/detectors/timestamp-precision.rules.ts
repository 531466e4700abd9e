import type { PassedOrders } from '../report/passed-orders.rules.js';
import { shareOf } from './rounding.rules.js';
import { MostStriking, type Stepwise, type SuspectsFound } from './anomalies.rules.js';
import {
  FORMS,
  hasTimeOfDay,
  MIDNIGHT,
  nameOfForm,
  SECOND,
  timesADay,
  type TimestampForm,
} from './timestamp-form.rules.js';

/** Of the form that is usual; where none has it, several senders write as they like. */
const MIN_USUAL_SHARE = 0.9;
/** Of a form that is odd; so one is none among fewer than 20 orders, which don't tell what is usual. */
const MAX_ODD_SHARE = 0.05;
/** Times as many as chance brings about are no chance. */
const MIN_TIMES_CHANCE = 10;

/** Orders whose timestamp is written in a form that is rare, where one form is usual. */
export function* oddTimestampPrecision(orders: PassedOrders, most: number): Stepwise<SuspectsFound> {
  const striking = new MostStriking(most, orders.firstNew);
  const forms = orders.form.values();
  const counts = new Uint32Array(FORMS);
  for (const form of forms) if (form < FORMS) counts[form]!++;
  const all = counts.reduce((sum, count) => sum + count, 0);
  const usual = counts.indexOf(Math.max(...counts));
  if (counts[usual]! < MIN_USUAL_SHARE * all) return striking.found();

  const isOdd = Array.from(counts, (count, form) => {
    const byChance = all * chanceOf(form, usual);
    return form !== usual && count <= MAX_ODD_SHARE * all && count > MIN_TIMES_CHANCE * byChance;
  });
  yield;
  for (let order = 0; order < forms.length; order++) {
    const form = forms[order]!;
    if (!isOdd[form]) continue;
    striking.add(-counts[form]!, order, () => {
      const usual_share = shareOf(counts[usual]!, all);
      const explanation =
        `The timestamp has a rare form: ${nameOfForm(form)}, as ${counts[form]!} of ${all} orders have, ` +
        `of which ${counts[usual]!} have it ${nameOfForm(usual)}.`;
      const evidence = {
        form: nameOfForm(form),
        orders_with_form: counts[form]!,
        usual_form: nameOfForm(usual),
        usual_share,
      };
      return orders.suspect(order, 'odd_timestamp_precision', explanation, evidence);
    });
  }
  return striking.found();
}

/**
 * How often a writer of the usual form writes the other: some order is placed exactly at midnight, and many writers leave
 * zeros out at the end of a fraction, and a fraction of zeros as a whole.
 */
function chanceOf(form: TimestampForm, usual: TimestampForm): number {
  if (!hasTimeOfDay(usual)) return 0;
  if (form === MIDNIGHT) return 1 / timesADay(usual);
  return form >= SECOND && form < usual ? 10 ** (form - usual) : 0;
}
