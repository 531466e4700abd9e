import { Injectable } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import { Redis, type RedisCommand } from '../platform/redis/redis.js';
import { CHECKPOINT_FIELDS, checkpointFrom, type Checkpoint } from './checkpoint.js';

/** Redis serves nobody else while it runs a transaction. */
const MOST_COMMANDS = 500;

/** What commands found, all of one moment. */
export interface GatheredReplies {
  /** Null where the generation is not, or no longer, in service. */
  checkpoint: Checkpoint | null;
  /** In the order of the commands. */
  replies: unknown[];
}

/** A transaction to be sent at the end of this turn of the event loop. */
interface Gathering {
  commands: RedisCommand[];
  /** Where in the transaction each command is, so that the same one is sent once. */
  places: Map<string, number>;
  answer: Promise<{ checkpoint: Checkpoint | null; replies: unknown[] }>;
}

/**
 * Sends the reads that come in one turn of the event loop as one transaction with one look at the checkpoint: to send
 * and to parse one by one costs more than what is read. Each answer is of a moment after its question all the same.
 */
@Injectable()
export class GatheredReads {
  private readonly gatherings = new Map<number, Gathering>();

  constructor(private readonly redis: Redis) {}

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
    if (open && open.commands.length < MOST_COMMANDS) return open;
    const commands: RedisCommand[] = [
      ['hmget', this.redis.keys.generation(generation).checkpoint, ...CHECKPOINT_FIELDS],
    ];
    const gathering: Gathering = { commands, places: new Map(), answer: this.send(generation, commands) };
    this.gatherings.set(generation, gathering);
    return gathering;
  }

  private async send(
    generation: number,
    commands: RedisCommand[],
  ): Promise<{ checkpoint: Checkpoint | null; replies: unknown[] }> {
    await setImmediate();
    if (this.gatherings.get(generation)?.commands === commands) this.gatherings.delete(generation);
    const replies = await this.redis.atomicallyEach(commands);
    if (replies[0] instanceof Error) throw replies[0];
    return { checkpoint: checkpointFrom(replies[0] as (string | null)[]), replies };
  }
}

function placeOf(command: RedisCommand, { commands, places }: Gathering): number {
  const name = command.join('\n'); // no id has a line break
  let place = places.get(name);
  if (place === undefined) places.set(name, (place = commands.push(command) - 1));
  return place;
}
