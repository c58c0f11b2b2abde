#!/bin/sh
# Moves the orders to the module, so that shops share them.
set -e
rm -r lib/core lib/decorators lib/facade lib/factories lib/services
cat > lib/errors.js <<'JS'
"use strict";

class ShopError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "ShopError";
    this.code = code;
  }
}

module.exports = { ShopError };
JS
cat > lib/pricing.js <<'JS'
"use strict";

const { ShopError } = require("./errors");

const TAXES = Object.freeze({ standard: 20, reduced: 7, none: 0 });

function discount(quantity) {
  return quantity >= 100 ? 12 : quantity >= 10 ? 5 : 0;
}

function article(catalog, sku) {
  if (!Object.prototype.hasOwnProperty.call(catalog, sku)) throw new ShopError("unknown-sku", "no such article: " + sku);
  return catalog[sku];
}

function checkQuantity(quantity) {
  if (!Number.isInteger(quantity) || quantity < 1) throw new ShopError("bad-quantity", "not a quantity: " + quantity);
}

function checkCurrency(currency) {
  if (typeof currency !== "string" || !/^[A-Z]{3}$/.test(currency)) throw new ShopError("unknown-currency", "not a currency: " + currency);
}

function priceOf(item, sku, quantity, currency, rateOf) {
  const full = item.cents * quantity;
  const net = Math.round((full - Math.floor((full * discount(quantity)) / 100)) * rateOf(currency));
  const percentage = TAXES[item.tax];
  if (percentage === undefined) throw new ShopError("unknown-tax", "no such tax: " + item.tax);
  const tax = Math.round((net * percentage) / 100);
  return { sku, quantity, currency, net, tax, gross: net + tax };
}

module.exports = { TAXES, article, checkCurrency, checkQuantity, priceOf };
JS
cat > lib/index.js <<'JS'
"use strict";

const { ShopError } = require("./errors");
const { TAXES, article, checkCurrency, checkQuantity, priceOf } = require("./pricing");

const orders = [];
const grossOf = (lines) => lines.reduce((sum, line) => sum + line.gross, 0);

function createShop({ catalog = {}, rates, clock = Date.now, log = () => {} } = {}) {
  const known = new Map([["EUR", 1]]);
  let closed = false;

  function checkOpen() {
    if (closed) throw new ShopError("closed", "the shop is closed");
  }

  function rateOf(currency) {
    if (!known.has(currency)) {
      let rate;
      try {
        rate = rates(currency);
      } catch (error) {
        rate = 0;
      }
      if (!(rate > 0)) throw new ShopError("unknown-currency", "no rate for " + currency);
      known.set(currency, rate);
    }
    return known.get(currency);
  }

  function price(sku, quantity = 1, currency = "EUR") {
    checkOpen();
    let result;
    try {
      checkQuantity(quantity);
      const item = article(catalog, sku);
      checkCurrency(currency);
      result = priceOf(item, sku, quantity, currency, rateOf);
    } catch (error) {
      log("price " + sku + " failed: " + (error.code || error.message));
      throw error;
    }
    log("price " + sku + " x" + quantity + " = " + result.gross + " " + currency);
    return result;
  }

  function createCart() {
    checkOpen();
    const quantities = new Map();

    function lines(currency = "EUR") {
      checkOpen();
      return Array.from(quantities, ([sku, quantity]) => price(sku, quantity, currency));
    }

    const cart = {
      add(sku, quantity = 1) {
        checkOpen();
        article(catalog, sku);
        checkQuantity(quantity);
        quantities.set(sku, (quantities.get(sku) || 0) + quantity);
        return cart;
      },
      remove(sku) {
        checkOpen();
        if (!quantities.delete(sku)) throw new ShopError("unknown-sku", "not in the cart: " + sku);
        return cart;
      },
      lines,
      total: (currency) => grossOf(lines(currency)),
      checkout(currency = "EUR") {
        const ordered = lines(currency);
        if (ordered.length === 0) throw new ShopError("empty-cart", "nothing to order");
        const order = { id: orders.length + 1, time: clock(), currency, lines: ordered, total: grossOf(ordered) };
        orders.push(order);
        log("order #" + order.id + " = " + order.total + " " + currency);
        quantities.clear();
        return order;
      },
    };
    return cart;
  }

  return {
    price,
    cart: createCart,
    orders: () => orders.slice(),
    refresh() {
      checkOpen();
      known.clear();
      known.set("EUR", 1);
    },
    close() {
      if (closed) return;
      closed = true;
      log("closed after " + orders.length + " orders");
    },
  };
}

module.exports = { createShop, ShopError, TAXES };
JS
