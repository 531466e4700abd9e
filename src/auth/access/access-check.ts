import { Injectable, type OnModuleInit } from '@nestjs/common';
import { PATH_METADATA } from '@nestjs/common/constants.js';
import { DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core';
import { ACCESS_POLICY } from '../../platform/http/access.js';

/** Routes say not whom they let in. */
export class NoAccessPolicy extends Error {
  override readonly name = 'NoAccessPolicy';
  constructor(routes: string[]) {
    super(`Give a decorator of platform/http/access.ts to what says not whom it lets in: ${routes.join(', ')}`);
  }
}

/** Stops a start in which a route was forgotten. */
@Injectable()
export class AccessPolicyCheck implements OnModuleInit {
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly reflector: Reflector,
  ) {}

  /** @throws NoAccessPolicy */
  onModuleInit(): void {
    const forgotten = this.discovery.getControllers().flatMap(({ metatype }) => {
      if (!metatype) return [];
      const prototype = metatype.prototype as Record<string, object>;
      return this.scanner
        .getAllMethodNames(prototype)
        .filter((name) => Reflect.hasMetadata(PATH_METADATA, prototype[name]!))
        .filter((name) => !this.reflector.getAllAndOverride(ACCESS_POLICY, [prototype[name] as () => void, metatype]))
        .map((name) => `${metatype.name}.${name}`);
    });
    if (forgotten.length > 0) throw new NoAccessPolicy(forgotten);
  }
}
