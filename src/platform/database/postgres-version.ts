/** The least version of PostgreSQL that knows the schema's syntax. */
export const MIN_POSTGRES_VERSION = 15;
