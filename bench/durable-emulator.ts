import { EmbeddedQueue } from '../src/platform/embedded/embedded-queue.js';

/**
 * Runs as a child process: the embedded queue, keeping its messages in a folder, until it is told to end.
 *
 * Usage: durable-emulator FOLDER
 */
async function main(): Promise<void> {
  const queue = await EmbeddedQueue.start(0, process.argv[2]!);
  const stop = async (): Promise<void> => {
    await queue.stop();
    process.exit();
  };
  process.on('SIGTERM', () => void stop());
  process.on('disconnect', () => void stop());
  process.send!({ endpoint: queue.endpoint });
}

void main();
