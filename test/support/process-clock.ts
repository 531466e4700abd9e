const RealDate = Date;

/**
 * The clock of this process as the code in it reads it, which a test may set. Timers and performance.now() go on, as they
 * do where a real clock is set.
 */
export class ProcessClock {
  private ahead = 0;

  constructor() {
    const now = (): number => RealDate.now() + this.ahead;
    globalThis.Date = new Proxy(RealDate, {
      construct: (real, args: unknown[]) =>
        Reflect.construct(real, args.length === 0 ? [now()] : args) as InstanceType<DateConstructor>,
      get: (real, name) => (name === 'now' ? now : (Reflect.get(real, name) as unknown)),
    });
  }

  /** @param ms so much ahead of the time it is; behind where negative */
  set(ms: number): void {
    this.ahead = ms;
  }

  /** The time it is again, for good. */
  restore(): void {
    globalThis.Date = RealDate;
  }
}
