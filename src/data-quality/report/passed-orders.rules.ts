import type { ReportedEntry } from '../../ledger/ledger-entry.js';
import { isoOf } from '../../shared/iso-time.js';
import { cents, decimalOf } from '../../domain/money.js';
import type { OrderLine } from '../../domain/order-event.js';
import { AsciiColumn, Column, grouped, type Grouping, Numbering } from './columns.rules.js';
import { sentForm } from '../check/sent-form.rules.js';
import type { Evidence, Suspect, SuspectKind } from '../detectors/anomalies.rules.js';
import { formOf } from '../detectors/timestamp-form.rules.js';

/** The first year that an order may have, in seconds since 1970; with it, seconds up to the last one fit into 32 bits. */
const FIRST_SECOND = Date.UTC(2000, 0) / 1000;
/** In the place of an address's number. */
const NO_ADDRESS = 0xffff_ffff;
const POSITIONS_SHOWN = 10;

/**
 * The orders that passed every rule, in columns: about 70 bytes an order and 16 a line, whatever their bodies weigh.
 * An order goes by its index, from 0, in the order of the ledger.
 */
export class PassedOrders {
  readonly products = new Numbering();
  readonly addresses = new Numbering();

  private readonly orderIds = new AsciiColumn();
  readonly position = new Column(Float64Array);
  /** Number in {@link users}. */
  readonly user = new Column(Uint32Array);
  /** ms UTC. */
  readonly orderedAt = new Column(Float64Array);
  /** Cents. */
  readonly value = new Column(Float64Array);
  /** Number in {@link addresses}, or beyond all of them. */
  readonly address = new Column(Uint32Array);
  readonly form = new Column(Uint8Array);
  /** Equal for equal lines, in whatever order they are: prices to a hundredth of a cent. */
  readonly content = new Column(Float64Array);

  /** Of each line the index of its order. */
  readonly lineOrder = new Column(Uint32Array);
  /** Number in {@link products}. */
  readonly lineProduct = new Column(Uint32Array);
  /** Currency units. */
  readonly linePrice = new Column(Float64Array);

  /** The index of the first that may be a suspect; those before it are what it is compared with. */
  firstNew = 0;

  /** @param users also those of whom nothing passed may be among them */
  constructor(readonly users: Numbering) {}

  /** How many there are. */
  get size(): number {
    return this.position.length;
  }

  /** @param entry not a failed one @param user its number in {@link users} */
  add({ position, orderId, orderedAt, value, lines, body }: ReportedEntry, user: number): void {
    const { timestamp, address } = sentForm(body!);
    const index = this.size;
    this.orderIds.push(orderId!);
    this.position.push(position);
    this.user.push(user);
    this.orderedAt.push(orderedAt!);
    this.value.push(value!);
    this.address.push(address === null ? NO_ADDRESS : this.addresses.of(address));
    this.form.push(formOf(timestamp));
    this.content.push(this.addLines(index, lines));
  }

  /** The orders of each user, the earliest first. */
  timelines(): Grouping {
    return grouped(this.user.values(), this.users.size, this.inTimeOrder());
  }

  orderId(index: number): string {
    return this.orderIds.at(index);
  }

  userId(index: number): string {
    return this.users.textOf(this.user.values()[index]!);
  }

  /** Currency units. */
  amount(index: number): number {
    return decimalOf(cents(this.value.values()[index]!));
  }

  time(index: number): string {
    return isoOf(this.orderedAt.values()[index]!);
  }

  /** Of the first few of some orders. */
  positions(indices: Iterable<number>): number[] {
    return [...indices].slice(0, POSITIONS_SHOWN).map((index) => this.position.values()[index]!);
  }

  suspect(index: number, kind: SuspectKind, explanation: string, evidence: Evidence): Suspect {
    const position = this.position.values()[index]!;
    return { position, orderId: this.orderId(index), userId: this.userId(index), kind, explanation, evidence };
  }

  private addLines(index: number, lines: readonly OrderLine[]): number {
    let high = lines.length;
    let low = 0;
    for (const { product_id, quantity, price_per_unit } of lines) {
      const product = this.products.of(product_id);
      const price = Number(price_per_unit);
      this.lineOrder.push(index);
      this.lineProduct.push(product);
      this.linePrice.push(price);
      const line = mixed(mixed(mixed(product + 1) ^ quantity) ^ Math.round(price * 10_000));
      high = (high + line) >>> 0;
      low = (low + mixed(line ^ 0x5bd1e995)) >>> 0;
    }
    return high * 2 ** 21 + (low >>> 11);
  }

  /** By the second, and within it in the order of the ledger. Sorted as integers, which is several times as quick. */
  private inTimeOrder(): Uint32Array {
    const times = this.orderedAt.values();
    const keys = new BigUint64Array(times.length);
    const halves = new Uint32Array(keys.buffer);
    const [low, high] = isLittleEndian() ? [0, 1] : [1, 0];
    for (let i = 0; i < times.length; i++) {
      halves[2 * i + low] = i;
      halves[2 * i + high] = Math.floor(times[i]! / 1000) - FIRST_SECOND;
    }
    keys.sort();
    return Uint32Array.from({ length: times.length }, (_, i) => halves[2 * i + low]!);
  }
}

function isLittleEndian(): boolean {
  return new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
}

/** Spreads the bits of a number over 32: the last step of MurmurHash3, by Austin Appleby. */
function mixed(number: number): number {
  let bits = number | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
