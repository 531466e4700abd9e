/** Reads `.env` of the working directory into the environment; variables that are already set win. */
export function loadDotenv(): void {
  try {
    process.loadEnvFile('.env');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
