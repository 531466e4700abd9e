import { Injectable } from '@nestjs/common';
import { STEP_TASKS, type StepMessage, type StepTask } from '../messaging/step-messages.js';

/** What is known of one delivery of a step message. */
export interface StepDelivery {
  /** How often the message was received, this time included. */
  receiveCount: number;
}

/**
 * Does what a step message asks for. The same message may come again, also while it is still being handled elsewhere.
 * Resolving acknowledges it, rejecting has it delivered again later.
 */
export type StepHandler = (message: StepMessage, delivery: StepDelivery) => Promise<void>;

/** Who handles which task. Handlers register when they are made, or when their module begins. */
@Injectable()
export class StepHandlers {
  private readonly handlers = new Map<StepTask, StepHandler>();

  /** @throws Error where the task has a handler */
  register(task: StepTask, handler: StepHandler): void {
    if (this.handlers.has(task)) throw new Error(`The step ${task} has two handlers`);
    this.handlers.set(task, handler);
  }

  /** @throws Error where the task has no handler */
  of(task: StepTask): StepHandler {
    const handler = this.handlers.get(task);
    if (!handler) throw new Error(`The step ${task} has no handler`);
    return handler;
  }

  /** @throws Error naming every task without a handler */
  assertComplete(): void {
    const missing = (Object.keys(STEP_TASKS) as StepTask[]).filter((task) => !this.handlers.has(task));
    if (missing.length > 0) throw new Error(`Steps without a handler: ${missing.join(', ')}`);
  }
}
