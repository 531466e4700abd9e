import { ApiProperty } from '@nestjs/swagger';
import { QueryInteger } from '../../platform/http/validation.js';
import { LOGGED_OUTCOMES, type LoggedOutcome, type LogLevel, type LogLine } from './consumer-log.service.js';

/** Query of `GET /consumer_logs`. */
export class ConsumerLogsQuery {
  @QueryInteger(1, 10_000, { default: 100, description: 'How many lines at most' })
  limit = 100;
}

/** A line of the consumer log. */
export class ConsumerLogLine implements LogLine {
  @ApiProperty({ example: '2026-01-31T12:00:00.000Z', format: 'date-time' })
  timestamp!: string;
  @ApiProperty({ enum: ['info', 'warn', 'error'] })
  level!: LogLevel;
  @ApiProperty({ example: 'Order ORD536365 of U17850 accepted: 139.12' })
  message!: string;
  @ApiProperty({ example: 'ORD536365', type: String, nullable: true })
  order_id!: string | null;
  @ApiProperty({ example: 'U17850', type: String, nullable: true })
  user_id!: string | null;
  @ApiProperty({ enum: LOGGED_OUTCOMES })
  outcome!: LoggedOutcome;
}

/** Answer of `GET /consumer_logs`. */
export class ConsumerLogsAnswer {
  @ApiProperty({ example: 1, description: 'How many lines are kept.' })
  total_logs!: number;
  @ApiProperty({ type: [ConsumerLogLine], description: 'The latest of them, oldest first.' })
  logs!: ConsumerLogLine[];
}
