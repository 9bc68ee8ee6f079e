import { Double, Int32, ObjectId } from "mongodb";
import type { DemoRandom } from "./demo-random.ts";

const FIRST_NAMES = [
  "Ada",
  "Amir",
  "Beatriz",
  "Chen",
  "Dilara",
  "Elif",
  "Femi",
  "Greta",
  "Hugo",
  "Ines",
  "Jonas",
  "Kofi",
  "Leila",
  "Mateo",
  "Nadia",
  "Oskar",
  "Priya",
  "Quinn",
  "Rosa",
  "Sami",
  "Tariq",
  "Uma",
  "Vera",
  "Wanjiru",
  "Yuki",
  "Zoe",
];
const LAST_NAMES = [
  "Almeida",
  "Becker",
  "Castro",
  "Diallo",
  "Eriksen",
  "Ferrari",
  "Garcia",
  "Haddad",
  "Ito",
  "Jansen",
  "Kaya",
  "Lindqvist",
  "Mensah",
  "Novak",
  "Okafor",
  "Patel",
  "Rossi",
  "Silva",
  "Tanaka",
  "Vargas",
  "Weber",
  "Yilmaz",
];
const CITIES = [
  ["Lisbon", "PT"],
  ["Porto", "PT"],
  ["Berlin", "DE"],
  ["Hamburg", "DE"],
  ["Lyon", "FR"],
  ["Paris", "FR"],
  ["Turin", "IT"],
  ["Bologna", "IT"],
  ["Malmö", "SE"],
  ["Kraków", "PL"],
  ["Utrecht", "NL"],
  ["Ghent", "BE"],
] as const;
const STREETS = ["Canal Street", "Harbour Road", "Mill Lane", "Orchard Way", "Station Square", "Upper Bridge"];
const GOODS = {
  kitchen: ["Kettle", "Chef's Knife", "Moka Pot", "Cutting Board", "Enamel Mug", "Pepper Mill"],
  garden: ["Pruning Shears", "Watering Can", "Terracotta Pot", "Seed Box", "Rake"],
  office: ["Desk Lamp", "Notebook", "Fountain Pen", "Paper Tray", "Monitor Stand"],
  outdoor: ["Camp Stove", "Wool Blanket", "Head Torch", "Dry Bag", "Steel Bottle"],
} as const;
const MATERIALS = ["Oak", "Steel", "Linen", "Copper", "Glass", "Cork", "Cast-Iron", "Walnut"];
const TAGS = ["new", "bestseller", "handmade", "recycled", "gift", "sale"];

export const ORDER_STATUSES = ["placed", "paid", "packed", "shipped", "delivered"] as const;
export type OrderStatus = (typeof ORDER_STATUSES)[number] | "cancelled";

export interface CustomerDocument {
  readonly _id: ObjectId;
  readonly name: string;
  readonly email: string;
  readonly address: { readonly street: string; readonly city: string; readonly country: string };
  readonly vip: boolean;
  readonly orderCount: Int32;
  readonly createdAt: Date;
}

export interface ProductDocument {
  /** SKU. */
  readonly _id: string;
  readonly name: string;
  readonly category: string;
  readonly price: Double;
  readonly stock: Int32;
  readonly available: boolean;
  readonly tags: readonly string[];
  readonly updatedAt: Date;
}

export interface OrderItem {
  readonly sku: string;
  readonly name: string;
  readonly quantity: Int32;
  readonly price: Double;
}

export interface OrderDocument {
  /** Order number. */
  readonly _id: number;
  readonly customerId: ObjectId;
  readonly status: OrderStatus;
  readonly items: readonly OrderItem[];
  readonly total: Double;
  readonly paid: boolean;
  readonly placedAt: Date;
  readonly shippedAt: Date | null;
}

export function makeCustomer(random: DemoRandom, createdAt: Date): CustomerDocument {
  const first = random.pick(FIRST_NAMES);
  const last = random.pick(LAST_NAMES);
  const [city, country] = random.pick(CITIES);
  return {
    _id: new ObjectId(),
    name: `${first} ${last}`,
    email: `${first}.${last}${random.integer(1, 9999)}@example.com`.toLowerCase(),
    address: { street: `${random.pick(STREETS)} ${random.integer(1, 180)}`, city, country },
    vip: random.next() < 0.06,
    orderCount: new Int32(0),
    createdAt,
  };
}

export function makeProduct(random: DemoRandom, number: number, updatedAt: Date): ProductDocument {
  const category = random.pick(Object.keys(GOODS) as (keyof typeof GOODS)[]);
  return {
    _id: `${category.slice(0, 3).toUpperCase()}-${String(number).padStart(5, "0")}`,
    name: `${random.pick(MATERIALS)} ${random.pick<string>(GOODS[category])}`,
    category,
    price: new Double(random.integer(390, 18_900) / 100),
    stock: new Int32(random.integer(0, 240)),
    available: true,
    tags: TAGS.filter(() => random.next() < 0.2),
    updatedAt,
  };
}

export function makeOrder(
  random: DemoRandom,
  number: number,
  parts: {
    readonly customerId: ObjectId;
    readonly products: readonly ProductDocument[];
    readonly status: OrderStatus;
    readonly placedAt: Date;
  },
): OrderDocument {
  const items = Array.from({ length: random.integer(1, 4) }, (): OrderItem => {
    const { _id: sku, name, price } = random.pick(parts.products);
    return { sku, name, quantity: new Int32(random.integer(1, 3)), price };
  });
  const cents = items.reduce((sum, { quantity, price }) => sum + Math.round(price.value * 100) * quantity.value, 0);
  const isShipped = parts.status === "shipped" || parts.status === "delivered";
  return {
    _id: number,
    customerId: parts.customerId,
    status: parts.status,
    items,
    total: new Double(cents / 100),
    paid: parts.status !== "placed" && parts.status !== "cancelled",
    placedAt: parts.placedAt,
    shippedAt: isShipped ? new Date(parts.placedAt.getTime() + random.integer(2, 40) * 3_600_000) : null,
  };
}
