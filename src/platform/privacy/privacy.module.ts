import { Global, Module } from '@nestjs/common';
import { PersonalDataController } from './personal-data.controller.js';
import { PersonalData } from './personal-data.js';

/** Erasing what is kept of a person, whichever feature keeps it. */
@Global()
@Module({ controllers: [PersonalDataController], providers: [PersonalData], exports: [PersonalData] })
export class PrivacyModule {}
