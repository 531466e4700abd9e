import type { RunningService } from './app.js';

type HappyDom = typeof import('happy-dom', { with: { 'resolution-mode': 'import' } });
type Window = InstanceType<HappyDom['Browser']>['contexts'][number]['pages'][number]['mainFrame']['window'];
type Found = InstanceType<Window['HTMLElement']>;

/** A page of a service, loaded and run as a browser does, but for its looks and its security policy. */
export class OpenPage {
  private constructor(
    readonly window: Window,
    private readonly log: () => string,
    readonly close: () => Promise<void>,
  ) {}

  static async of(service: RunningService, path: string): Promise<OpenPage> {
    const { Browser } = await import('happy-dom');
    const browser = new Browser({
      settings: {
        enableJavaScriptEvaluation: true,
        suppressInsecureJavaScriptEnvironmentWarning: true,
        disableCSSFileLoading: true,
        handleDisabledFileLoadingAsSuccess: true,
      },
    });
    const page = browser.newPage();
    await page.goto(service.url + path);
    return new OpenPage(
      page.mainFrame.window,
      () => page.virtualConsolePrinter.readAsString(),
      () => browser.close(),
    );
  }

  /** What went wrong in its scripts since it was asked last. That a call was refused is none. */
  get faults(): string[] {
    return this.log()
      .split('\n')
      .filter((line) => /^\S*(Error|Exception)\b/.test(line));
  }

  get document(): Window['document'] {
    return this.window.document;
  }

  part(id: string): Found {
    const found = this.document.getElementById(id) as Found | null;
    if (!found) throw new Error(`The page has no ${id}`);
    return found;
  }

  /** What a part says; what is hidden says nothing. */
  text(id: string): string {
    const part = this.part(id);
    return part.closest('[hidden]') ? '' : part.textContent;
  }

  /** All that the page says and does not hide. */
  get allText(): string {
    const visible = this.document.body.cloneNode(true);
    for (const hidden of visible.querySelectorAll('[hidden]')) hidden.remove();
    return visible.textContent;
  }

  /** Gives a field a value, as by typing. */
  fill(id: string, value: string): void {
    (this.part(id) as unknown as { value: string }).value = value;
  }

  /** Presses the first button within a part that has this text, or this label. */
  press(text: string, within = 'main'): void {
    const buttons = [...this.part(within).querySelectorAll('button')];
    const found = buttons.find(
      (button) => (button.getAttribute('aria-label') ?? button.textContent) === text && !button.closest('[hidden]'),
    );
    if (!found)
      throw new Error(`There is no button ${text}, but ${buttons.map((button) => button.textContent).join(', ')}`);
    found.click();
  }
}
