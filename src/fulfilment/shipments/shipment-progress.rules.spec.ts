import { nextShipmentStatus, type ShipmentStatus } from './shipment-progress.rules.js';

function wayOf(trackingNumber: string): ShipmentStatus[] {
  const way: ShipmentStatus[] = ['created'];
  while (way.at(-1) !== 'delivered') way.push(nextShipmentStatus(way.at(-1)!, trackingNumber));
  return way;
}

describe('the way of a shipment', () => {
  it('ends at the customer', () => {
    expect(wayOf('SP123456785XX')).toEqual(['created', 'in_transit', 'delivered']);
  });

  it('is delayed once for one in ten', () => {
    expect(wayOf('SP123456780XX')).toEqual(['created', 'in_transit', 'delayed', 'delivered']);
    const delayed = Array.from({ length: 1_000 }, (_, n) => wayOf(`SP${String(n).padStart(9, '0')}XX`)).filter((way) =>
      way.includes('delayed'),
    );
    expect(delayed).toHaveLength(100);
  });
});
