/** What a carrier says of a shipment. */
export const SHIPMENT_STATUSES = ['created', 'in_transit', 'delayed', 'delivered'] as const;

/** One of {@link SHIPMENT_STATUSES}. */
export type ShipmentStatus = (typeof SHIPMENT_STATUSES)[number];

/** Of so many shipments one is delayed. */
const ONE_DELAYED_IN = 10;

/**
 * What the simulated carrier does next with a shipment that is not delivered: sends it off, delays one in ten, delivers it.
 * The same tracking number always fares the same.
 */
export function nextShipmentStatus(status: ShipmentStatus, trackingNumber: string): ShipmentStatus {
  switch (status) {
    case 'created':
      return 'in_transit';
    case 'in_transit':
      return isDelayed(trackingNumber) ? 'delayed' : 'delivered';
    case 'delayed':
    case 'delivered':
      return 'delivered';
  }
}

function isDelayed(trackingNumber: string): boolean {
  const digits = trackingNumber.replace(/\D/g, '');
  return Number(digits.slice(-5)) % ONE_DELAYED_IN === 0;
}
