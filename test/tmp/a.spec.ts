import { RunningService, aWorld } from '../support/app.js';
it('x', async () => {
  const out: string[] = [];
  for (let i = 0; i < 5; i++) {
    const a = performance.now();
    const w = await aWorld();
    const b = performance.now();
    const s = await RunningService.start({ world: w });
    const c = performance.now();
    await s.isReady();
    const d = performance.now();
    const mods = (s.app as any).container.getModules();
    const log: string[] = [];
    for (const m of mods.values()) for (const p of m.providers.values()) {
      const inst = p.instance; if (!inst) continue;
      for (const h of ['onModuleDestroy', 'beforeApplicationShutdown', 'onApplicationShutdown']) {
        if (typeof inst[h] === 'function' && !inst['__w' + h]) {
          const o = inst[h].bind(inst); inst['__w' + h] = 1;
          inst[h] = async (...x: any[]) => { const t = performance.now(); await o(...x); const dt = performance.now() - t; if (dt > 10) log.push(`${inst.constructor.name}.${h} ${dt | 0}`); };
        }
      }
    }
    await s.stop();
    const e = performance.now();
    await w.destroy();
    out.push([b - a, c - b, d - c, e - d, performance.now() - e].map((x) => x | 0).join(' ') + ' ' + log.join(', '));
  }
  console.log(out.join('\n'));
});
