import { parseArgs } from 'node:util';
import { loadConfig } from '../shared/config.js';
import { command, runAsProcess } from './command.js';
import { ServiceClient } from './service-client.js';

const USAGE = `Makes a demo catalogue: ten products in two warehouses, a customer and a vendor.

Usage: npm run seed -- [--keep-passwords]

  --keep-passwords  leaves the passwords of demo accounts that are there already as they are
  --help            this text

The running service does it. What is there is left alone, so this may be run at any time; but for the passwords: nobody
can look up the ones before, so the two accounts get new ones, which are shown once, and their log-ins end.
`;

/** What is read of the service's answer. */
interface Seen {
  accounts: { email: string; role: string; state: string; password: string | null; note: string | null }[];
  warehouses: { code: string; state: string }[];
  products: { sku: string; state: string }[];
}

/** `npm run seed`: demo data in the running service. */
export const run = command(USAGE, async (argv, io) => {
  const { values } = parseArgs({ args: argv, options: { 'keep-passwords': { type: 'boolean', default: false } } });
  const service = new ServiceClient(loadConfig(io.environment), 'demo-data:plant');
  const answer = await service.call('POST', '/api/v1/system/demo-data', {
    reset_passwords: !values['keep-passwords'],
  });
  if (answer.status !== 200) throw service.refusal(answer);
  const { accounts, warehouses, products } = answer.body as Seen;
  const things = [
    ...warehouses.map(({ code, state }) => ['Warehouse', code, inWords(state)]),
    ...products.map(({ sku, state }) => ['Product', sku, inWords(state)]),
    ...accounts.map(({ email, role, state }) => [capitalised(role), email, inWords(state)]),
  ];
  io.out.write(`${tableOf(things)}\n`);
  const logIns = accounts.map(({ email, password, note }) => ['Log in', email, password ?? note ?? KEPT]);
  io.out.write(`${tableOf(logIns)}\nSee ${service.url}/api/v1/inventory\n`);
  return 0;
});

const KEPT = 'with the password it has; without --keep-passwords this gives it another one';

/** The state of an account, a warehouse or a product. */
function inWords(state: string): string {
  switch (state) {
    case 'there':
      return 'was there already';
    case 'reset':
      return 'was there already, has a new password';
    case 'taken':
      return 'not made';
    default:
      return state;
  }
}

function capitalised(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** Columns as wide as what is in them. */
function tableOf(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join('  '));
  return lines.map((line) => `${line.trimEnd()}\n`).join('');
}

if (require.main === module) void runAsProcess(run);
