import type { EntityDefinition } from "@emcache/protocol";

/** Name of the demo's source in the configuration. */
export const DEMO_SOURCE = "shop";

/** The demo's entities: one for each collection of its shop, with one of every kind of column among them. */
export const DEMO_ENTITIES: readonly EntityDefinition[] = [
  {
    name: "customers",
    client: DEMO_SOURCE,
    source: "customers",
    shape: {
      id_column: { path: "$._id", type: "string" },
      columns: [
        { name: "name", type: "string", path: "$.name" },
        { name: "email", type: "string", path: "$.email" },
        { name: "city", type: "string", path: "$.address.city" },
        { name: "country", type: "string", path: "$.address.country" },
        { name: "vip", type: "bool", path: "$.vip" },
        { name: "order_count", type: "integer", path: "$.orderCount" },
        { name: "created_at", type: "string", path: "$.createdAt" },
      ],
      indexes: [
        { name: "customers_email", columns: ["email"] },
        { name: "customers_place", columns: ["country", "city"] },
      ],
    },
  },
  {
    name: "products",
    client: DEMO_SOURCE,
    source: "products",
    shape: {
      id_column: { path: "$._id", type: "string" },
      columns: [
        { name: "name", type: "string", path: "$.name" },
        { name: "category", type: "string", path: "$.category" },
        { name: "price", type: "number", path: "$.price" },
        { name: "stock", type: "integer", path: "$.stock" },
        { name: "available", type: "bool", path: "$.available" },
        { name: "tags", type: "jsonb", path: "$.tags" },
        { name: "updated_at", type: "string", path: "$.updatedAt" },
      ],
      indexes: [{ name: "products_category", columns: ["category", "price"] }],
    },
  },
  {
    name: "orders",
    client: DEMO_SOURCE,
    source: "orders",
    shape: {
      id_column: { path: "$._id", type: "number" },
      columns: [
        { name: "customer_id", type: "string", path: "$.customerId" },
        { name: "status", type: "string", path: "$.status" },
        { name: "total", type: "number", path: "$.total" },
        { name: "paid", type: "bool", path: "$.paid" },
        { name: "items", type: "jsonb", path: "$.items" },
        { name: "first_sku", type: "string", path: "$.items[0].sku" },
        { name: "placed_at", type: "string", path: "$.placedAt" },
        { name: "shipped_at", type: "string", path: "$.shippedAt" },
      ],
      indexes: [
        { name: "orders_status", columns: ["status", "placed_at"] },
        { name: "orders_customer", columns: ["customer_id"] },
      ],
    },
  },
];
