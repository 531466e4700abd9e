import { Injectable } from '@nestjs/common';
import type { OpenAPIObject } from '@nestjs/swagger';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;

/** One route, in a line. */
export interface RouteLine {
  method: string;
  path: string;
  summary: string;
}

/** What `GET /api` says, taken from the OpenAPI document so that it can't fall behind it. */
@Injectable()
export class ApiOverview {
  private document: (() => OpenAPIObject) | null = null;

  /** @param document makes the OpenAPI document */
  isDescribedBy(document: () => OpenAPIObject): void {
    this.document = document;
  }

  /** Name, version, and every route with a line on it. */
  describe(): { name: string; version: string; docs: string; dashboard: string; routes: RouteLine[] } {
    const { info, paths } = this.document!();
    const routes = Object.entries(paths).flatMap(([path, item]) =>
      METHODS.flatMap((method): RouteLine[] => {
        const operation = item[method];
        return operation ? [{ method: method.toUpperCase(), path, summary: operation.summary ?? '' }] : [];
      }),
    );
    return { name: info.title, version: info.version, docs: '/docs', dashboard: '/dashboard', routes };
  }
}
