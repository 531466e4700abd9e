import { Injectable } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import { pause } from '../../platform/back-off.js';
import { Redis, type RedisCommand } from '../../platform/redis/redis.js';
import { checkpointFrom, checkpointReads, type Checkpoint } from '../projection/checkpoint.js';

/** Redis serves nobody else while it runs a transaction. */
const MAX_COMMANDS = 500;
/** Statistics hardly change more often while entries arrive: the projector lets more time pass between folds. */
const PAUSE_WHILE_ENTRIES_ARRIVE_MS = 20;
/** Entries count as arriving for so long after an append. */
const ARRIVING_MS = 50;

/** What commands found, all of one moment. */
export interface GatheredReplies {
  /** Null where the generation is not, or no longer, in service. */
  checkpoint: Checkpoint | null;
  /** In the order of the commands. */
  replies: unknown[];
}

/** A transaction to be sent soon. */
interface Gathering {
  commands: RedisCommand[];
  /** Where in the transaction each command is, so that the same one is sent once. */
  places: Map<string, number>;
  answer: Promise<{ checkpoint: Checkpoint | null; replies: unknown[] }>;
}

/**
 * Sends the reads that come in one turn of the event loop as one transaction with one look at the checkpoint: to send
 * and to parse one by one costs more than what is read. While entries arrive those of more turns are waited for, which
 * leaves the time to the intake. Each answer is of a moment after its question all the same.
 */
@Injectable()
export class GatheredReads {
  private readonly gatherings = new Map<number, Gathering>();
  private arrivedAt = -Infinity;

  constructor(private readonly redis: Redis) {}

  /** To be called at every append. */
  entriesArrive(): void {
    this.arrivedAt = performance.now();
  }

  /**
   * Reads from a generation.
   * @throws RedisUnavailable; the error of a command among these, as that of a key of another type
   */
  async read(generation: number, commands: RedisCommand[]): Promise<GatheredReplies> {
    const gathering = this.gatheringFor(generation);
    const places = commands.map((command) => placeOf(command, gathering));
    const { checkpoint, replies } = await gathering.answer;
    return {
      checkpoint,
      replies: places.map((place) => {
        const reply = replies[place];
        if (reply instanceof Error) throw reply;
        return reply;
      }),
    };
  }

  private gatheringFor(generation: number): Gathering {
    const open = this.gatherings.get(generation);
    if (open && open.commands.length < MAX_COMMANDS) return open;
    const commands: RedisCommand[] = checkpointReads(this.redis.keys.generation(generation).checkpoint);
    const gathering: Gathering = { commands, places: new Map(), answer: this.send(generation, commands) };
    this.gatherings.set(generation, gathering);
    return gathering;
  }

  private async send(
    generation: number,
    commands: RedisCommand[],
  ): Promise<{ checkpoint: Checkpoint | null; replies: unknown[] }> {
    const arriving = performance.now() - this.arrivedAt < ARRIVING_MS;
    await (arriving ? pause(PAUSE_WHILE_ENTRIES_ARRIVE_MS) : setImmediate());
    if (this.gatherings.get(generation)?.commands === commands) this.gatherings.delete(generation);
    const replies = await this.redis.atomicallyEach(commands);
    return { checkpoint: checkpointFrom(replies), replies };
  }
}

function placeOf(command: RedisCommand, { commands, places }: Gathering): number {
  const name = command.join('\n'); // no id has a line break
  let place = places.get(name);
  if (place === undefined) places.set(name, (place = commands.push(command) - 1));
  return place;
}
