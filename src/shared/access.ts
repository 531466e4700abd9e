/** What an account is to this service. */
export const ROLES = ['customer', 'vendor', 'analyst', 'admin'] as const;

/** One of {@link ROLES}. */
export type Role = (typeof ROLES)[number];

/** What a route may ask of who calls it, and an API key may be given. */
export const SCOPES = [
  'statistics:read',
  'statistics:manage',
  'order-events:read',
  'order-events:repair',
  'orders:produce',
  'metrics:read',
  'accounts:manage',
  'personal-data:erase',
  'audit:read',
  'catalogue:manage',
  'catalogue:manage-any',
  'orders:own',
  'orders:manage-any',
  'demo-data:plant',
  'data-quality:read',
  'data-quality:check',
] as const;

/** One of {@link SCOPES}. */
export type Scope = (typeof SCOPES)[number];

/** Customers and vendors buy and see what is theirs, and vendors sell what is theirs. */
export const SCOPES_OF: Readonly<Record<Role, ReadonlySet<Scope>>> = {
  customer: new Set(['orders:own']),
  vendor: new Set(['catalogue:manage', 'orders:own']),
  analyst: new Set(['statistics:read', 'order-events:read', 'data-quality:read', 'data-quality:check']),
  admin: new Set(SCOPES),
};

/** On whose behalf a request is made. */
export interface Caller {
  /** An account is a person who logged in; a scraper may read the metrics. */
  readonly kind: 'operator' | 'account' | 'api-key' | 'scraper';
  /** As records name it: that of {@link LOCAL_OPERATOR}, `account:…` or `api-key:…` with an id, or `scraper`. */
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Whose log-in or API key it is; null for the operator and what the operator made, and for a scraper. */
  readonly account: { readonly id: string; readonly role: Role; readonly userId: string } | null;
  /** The log-in that the access token came from; null where there was none. */
  readonly sessionId: string | null;
}

/** Who acts where nobody has to log in: whoever sits at the machine, which is the only place that then is answered. */
export const LOCAL_OPERATOR: Caller = Object.freeze({
  kind: 'operator',
  name: 'local-operator',
  scopes: SCOPES_OF.admin,
  account: null,
  sessionId: null,
});

/** What records call an account. */
export function accountName(id: string): string {
  return `account:${id}`;
}

/** Who did something and by which request, for the record. */
export interface Actor {
  /** The {@link Caller}'s. */
  readonly name: string;
  /** Null where no request asked for it. */
  readonly requestId: string | null;
}
