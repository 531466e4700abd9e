import { ApiProperty } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { ValidateBy } from 'class-validator';
import { isoOf } from '../../shared/iso-time.js';
import { SHIPMENT_STATUSES, type ShipmentStatus } from './shipment-progress.rules.js';
import type { Shipment } from './shipments.service.js';
import { isTrackingNumber } from './tracking-number.rules.js';

/** Path of one shipment. */
export class TrackingPath {
  @ApiProperty({ example: 'SP473124829XX' })
  @ValidateBy({
    name: 'trackingNumber',
    validator: {
      validate: (given) => typeof given === 'string' && isTrackingNumber(given),
      defaultMessage: () => 'must be a tracking number, such as SP473124829XX',
    },
  })
  @Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.trim().toUpperCase() : value))
  tracking_number!: string;
}

/** Something that happened to a shipment. */
export class ShipmentEventJson {
  @ApiProperty({ enum: SHIPMENT_STATUSES, example: 'in_transit' })
  event!: ShipmentStatus;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  at!: string;
}

/** A shipment in the form of the API. */
export class ShipmentJson {
  @ApiProperty({ example: 'SP473124829XX' })
  tracking_number!: string;

  @ApiProperty({ example: 'Simulated Carrier' })
  carrier!: string;

  @ApiProperty({ example: 'ORD-5F3C6F0E2A4F7B1C' })
  order_id!: string;

  @ApiProperty({ enum: SHIPMENT_STATUSES, example: 'in_transit' })
  status!: ShipmentStatus;

  @ApiProperty({ type: [ShipmentEventJson], description: 'Oldest first' })
  events!: ShipmentEventJson[];
}

/** A shipment in the form of the API. */
export function shipmentJson({ trackingNumber, carrier, orderId, status, events }: Shipment): ShipmentJson {
  return {
    tracking_number: trackingNumber,
    carrier,
    order_id: orderId,
    status,
    events: events.map(({ event, at }) => ({ event, at: isoOf(at) })),
  };
}
