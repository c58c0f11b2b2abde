"use strict";
const test = require("node:test");
const assert = require("node:assert");
const { createShop, ShopError } = require("../lib");

const catalog = { tea: { name: "Tea", cents: 450, tax: "reduced" }, pot: { name: "Pot", cents: 2999, tax: "standard" } };
const rates = (currency) => ({ USD: 1.1 })[currency];

test("prices", () => {
  const shop = createShop({ catalog, rates });
  assert.deepStrictEqual(shop.price("pot"), { sku: "pot", quantity: 1, currency: "EUR", net: 2999, tax: 600, gross: 3599 });
  assert.deepStrictEqual(shop.price("tea", 10, "USD"), { sku: "tea", quantity: 10, currency: "USD", net: 4703, tax: 329, gross: 5032 });
});

test("a cart becomes an order", () => {
  const log = [];
  const shop = createShop({ catalog, rates, clock: () => 77, log: (line) => log.push(line) });
  const order = shop.cart().add("tea", 2).add("pot").checkout();
  assert.strictEqual(order.total, 963 + 3599);
  assert.strictEqual(order.time, 77);
  assert.deepStrictEqual(shop.orders().map((o) => o.id), [1]);
  assert.deepStrictEqual(log, ["price tea x2 = 963 EUR", "price pot x1 = 3599 EUR", "order #1 = 4562 EUR"]);
});

test("errors have codes", () => {
  const shop = createShop({ catalog, rates });
  assert.throws(() => shop.price("cup"), (e) => e instanceof ShopError && e.code === "unknown-sku");
  shop.close();
  assert.throws(() => shop.price("tea"), (e) => e.code === "closed");
});
