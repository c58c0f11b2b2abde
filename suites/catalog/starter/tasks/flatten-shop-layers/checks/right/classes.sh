#!/bin/sh
# One file with two classes; the public objects are made of bound methods.
set -e
rm -r lib/core lib/decorators lib/facade lib/factories lib/services
cat > lib/index.js <<'JS'
"use strict";

const TAXES = Object.freeze({ standard: 20, reduced: 7, none: 0 });

class ShopError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "ShopError";
    this.code = code;
  }
}

function need(condition, code, message) {
  if (!condition) throw new ShopError(code, message);
}

class Shop {
  constructor(options) {
    this.options = options;
    this.clock = options.clock || Date.now;
    this.log = options.log || (() => undefined);
    this.rates = {};
    this.done = [];
    this.open = true;
  }

  needOpen() {
    need(this.open, "closed", "the shop is closed");
  }

  article(sku) {
    const catalog = this.options.catalog || {};
    need(Object.keys(catalog).includes(sku), "unknown-sku", "no such article: " + sku);
    return catalog[sku];
  }

  rate(currency) {
    if (currency === "EUR") return 1;
    if (!this.rates[currency]) {
      let rate = 0;
      try {
        rate = this.options.rates(currency);
      } catch {
        rate = 0;
      }
      need(rate > 0, "unknown-currency", "no rate for " + currency);
      this.rates[currency] = rate;
    }
    return this.rates[currency];
  }

  compute(sku, quantity, currency) {
    need(Number.isInteger(quantity) && quantity >= 1, "bad-quantity", "not a quantity: " + quantity);
    const item = this.article(sku);
    need(typeof currency === "string" && /^[A-Z]{3}$/.test(currency), "unknown-currency", "not a currency: " + currency);
    let cents = item.cents * quantity;
    if (quantity >= 10) cents -= Math.floor((cents * (quantity < 100 ? 5 : 12)) / 100);
    const net = Math.round(cents * this.rate(currency));
    need(TAXES[item.tax] !== undefined, "unknown-tax", "no such tax: " + item.tax);
    const tax = Math.round((net * TAXES[item.tax]) / 100);
    return { sku, quantity, currency, net, tax, gross: net + tax };
  }

  price(sku, quantity, currency) {
    let end = "failed: unknown";
    try {
      const price = this.compute(sku, quantity, currency);
      end = "x" + quantity + " = " + price.gross + " " + currency;
      return price;
    } catch (error) {
      end = "failed: " + (error.code || error.message);
      throw error;
    } finally {
      this.log("price " + sku + " " + end);
    }
  }
}

class Cart {
  constructor(shop) {
    this.shop = shop;
    this.content = new Map();
  }

  lines(currency) {
    this.shop.needOpen();
    return [...this.content].map(([sku, quantity]) => this.shop.price(sku, quantity, currency));
  }

  total(currency) {
    return this.lines(currency).reduce((sum, line) => sum + line.gross, 0);
  }

  add(sku, quantity) {
    this.shop.needOpen();
    this.shop.article(sku);
    need(Number.isInteger(quantity) && quantity >= 1, "bad-quantity", "not a quantity: " + quantity);
    this.content.set(sku, quantity + (this.content.get(sku) || 0));
  }

  remove(sku) {
    this.shop.needOpen();
    need(this.content.delete(sku), "unknown-sku", "not in the cart: " + sku);
  }

  checkout(currency) {
    const lines = this.lines(currency);
    need(lines.length, "empty-cart", "nothing to order");
    const { shop } = this;
    const total = lines.reduce((sum, line) => sum + line.gross, 0);
    const order = { id: shop.done.length + 1, time: shop.clock(), currency, lines, total };
    shop.done.push(order);
    shop.log("order #" + order.id + " = " + total + " " + currency);
    this.content.clear();
    return order;
  }
}

function createShop(options) {
  const shop = new Shop(options || {});
  return {
    price: (sku, quantity = 1, currency = "EUR") => {
      shop.needOpen();
      return shop.price(sku, quantity, currency);
    },
    cart: () => {
      shop.needOpen();
      const cart = new Cart(shop);
      const face = {
        add: (sku, quantity = 1) => (cart.add(sku, quantity), face),
        remove: (sku) => (cart.remove(sku), face),
        lines: (currency = "EUR") => cart.lines(currency),
        total: (currency = "EUR") => cart.total(currency),
        checkout: (currency = "EUR") => cart.checkout(currency),
      };
      return face;
    },
    orders: () => [...shop.done],
    refresh: () => {
      shop.needOpen();
      shop.rates = {};
    },
    close: () => {
      if (shop.open) shop.log("closed after " + shop.done.length + " orders");
      shop.open = false;
    },
  };
}

module.exports = { createShop, ShopError, TAXES };
JS
