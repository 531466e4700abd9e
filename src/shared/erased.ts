/** What stands where a person's data stood that were erased. */
export const ERASED = '[erased]';
