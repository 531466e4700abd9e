import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import type { Executor } from '../../platform/database/database.js';
import type { Erased, Eraser } from '../../platform/privacy/personal-data.js';
import { LanguageModel } from '../check/language-model.service.js';
import { QualityReports } from '../report/quality-reports.service.js';

/** Rows that one transaction locks and deletes. */
const FINDINGS_PER_PART = 5_000;

/**
 * Deletes findings of a user's orders, and of orders whose bodies had personal data taken out since: what was found may quote
 * it. So it takes part after whatever changes bodies. Reports and answers of the model that this process remembers are
 * forgotten, whoever is in them.
 */
@Injectable()
export class FindingsErasure implements Eraser {
  constructor(
    private readonly reports: QualityReports,
    private readonly languageModel: LanguageModel,
  ) {}

  /** What is remembered was made of what was there before. */
  committed(): void {
    this.reports.forget();
    this.languageModel.forget();
  }

  /** Whoever has a finding has an entry. */
  async knows(): Promise<boolean> {
    return false;
  }

  /** @param after the number of a finding @throws DatabaseUnavailable */
  async erase(tx: Executor, userId: string, after: number): Promise<{ erased: Erased; next: number | null }> {
    const looked = await tx.query<{ number: number; isPersonal: boolean }>(
      sql`select number,
            coalesce(user_id = ${userId}, false) or sha256(convert_to(body, 'UTF8')) <> quality_findings.body_hash as "isPersonal"
          from quality_findings join ledger using (position)
          where number > ${after} order by quality_findings.number limit ${FINDINGS_PER_PART}`,
    );
    const numbers = looked.filter(({ isPersonal }) => isPersonal).map(({ number }) => number);
    await tx.query(
      sql`delete from quality_findings
          where number in (select value::bigint from json_array_elements_text(${JSON.stringify(numbers)}::json))`,
    );
    return {
      erased: { quality_findings: numbers.length },
      next: looked.length === FINDINGS_PER_PART ? looked.at(-1)!.number : null,
    };
  }
}
