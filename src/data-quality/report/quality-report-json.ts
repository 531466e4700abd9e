import { isoOf } from '../../shared/iso-time.js';
import { decimalOf, decimalOfSum } from '../../domain/money.js';
import { REASONS } from '../../domain/order-event.js';
import type { CorrectionStatistics } from './corrections.rules.js';
import type { OutcomeCounts } from './fault-counts.rules.js';
import type { CorrectionsJson, OutcomesJson, QualityReportJson, SuspectJson } from './quality-report.dto.js';
import type { QualityReportRun } from './quality-reports.service.js';
import { shareOf } from '../detectors/rounding.rules.js';
import type { Suspect } from '../detectors/anomalies.rules.js';

/** A report that is made, as the API shows it. */
export function reportJson({ id, result, startedAt, finishedAt }: QualityReportRun): QualityReportJson {
  const { range, position, byReason, trend, worstSenders, withoutUser, corrections, suspects, ...outcomes } = result!;
  return {
    id,
    state: 'done',
    start: range.start ?? null,
    end: range.end ?? null,
    position,
    ...outcomesJson(outcomes),
    by_reason: byReason.map(({ reason, count, samples }) => ({
      reason,
      meaning: REASONS[reason],
      count,
      share: shareOf(count, outcomes.failed),
      samples: samples.map(({ position, orderId, userId, sentAt, reasons }) => ({
        position,
        order_id: orderId,
        user_id: userId,
        sent_at: isoOf(sentAt),
        reasons,
      })),
    })),
    trend: trend.map(({ date, ...counts }) => ({ date, ...outcomesJson(counts) })),
    worst_senders: worstSenders.map(({ userId, entries, failed, reasons }) => ({
      user_id: userId,
      entries,
      failed,
      failed_share: shareOf(failed, entries),
      reasons,
    })),
    without_user: withoutUser,
    corrections: correctionsJson(corrections, outcomes.accepted + outcomes.corrected),
    suspects: { counts: { ...suspects.counts }, items: suspects.items.map(suspectJson) },
    started_at: isoOf(startedAt!),
    finished_at: isoOf(finishedAt!),
    duration_ms: finishedAt! - startedAt!,
  };
}

/** A suspect as the API shows it. */
export function suspectJson({ position, orderId, userId, kind, explanation, evidence }: Suspect): SuspectJson {
  return { position, order_id: orderId, user_id: userId, kind, explanation, evidence };
}

function outcomesJson({ entries, accepted, corrected, failed }: OutcomeCounts): OutcomesJson {
  return { entries, accepted, corrected, failed, failed_share: shareOf(failed, entries) };
}

function correctionsJson(
  { count, unclaimed, raised, lowered, largest }: CorrectionStatistics,
  counted: number,
): CorrectionsJson {
  const total = raised.delta + lowered.delta;
  return {
    count,
    share: shareOf(count, counted),
    unclaimed,
    total_delta: decimalOfSum(total),
    total_absolute_delta: decimalOfSum(raised.delta - lowered.delta),
    raised: { count: raised.count, delta: decimalOfSum(raised.delta) },
    lowered: { count: lowered.count, delta: decimalOfSum(lowered.delta) },
    bias: total > 0n ? 'raised' : total < 0n ? 'lowered' : 'none',
    largest: largest && {
      position: largest.position,
      order_id: largest.orderId,
      claimed_value: decimalOf(largest.claimed),
      order_value: decimalOf(largest.value),
      delta: decimalOfSum(BigInt(largest.value - largest.claimed)),
    },
  };
}
