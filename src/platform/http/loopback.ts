/**
 * Whether a Host header names this machine's loopback address. A page of a foreign site can make a name of
 * its own resolve to 127.0.0.1 (DNS rebinding), but it can't change the Host header its browser sends.
 */
export function isLoopbackHost(host: string | undefined): boolean {
  if (!host) return false;
  const name = host.replace(/:\d{1,5}$/, '').toLowerCase();
  return name === 'localhost' || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name);
}
