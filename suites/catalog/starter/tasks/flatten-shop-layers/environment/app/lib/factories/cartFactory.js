"use strict";

const { ShopError } = require("../core/errors");

class Cart {
  constructor(priceService, orderService, catalogRepository, guard) {
    this.priceService = priceService;
    this.orderService = orderService;
    this.catalogRepository = catalogRepository;
    this.guard = guard;
    this.quantities = new Map();
  }

  add(sku, quantity) {
    this.guard.check();
    this.catalogRepository.getBySku(sku);
    if (!Number.isInteger(quantity) || quantity < 1) {
      throw new ShopError("bad-quantity", "not a quantity: " + quantity);
    }
    this.quantities.set(sku, (this.quantities.get(sku) || 0) + quantity);
  }

  remove(sku) {
    this.guard.check();
    if (!this.quantities.delete(sku)) {
      throw new ShopError("unknown-sku", "not in the cart: " + sku);
    }
  }

  lines(currency) {
    this.guard.check();
    const lines = [];
    for (const [sku, quantity] of this.quantities) {
      lines.push(this.priceService.calculate(sku, quantity, currency));
    }
    return lines;
  }

  total(currency) {
    return this.lines(currency).reduce((sum, line) => sum + line.gross, 0);
  }

  checkout(currency) {
    const lines = this.lines(currency);
    if (lines.length === 0) throw new ShopError("empty-cart", "nothing to order");
    const order = this.orderService.place(lines, currency);
    this.quantities.clear();
    return order;
  }
}

class CartProxy {
  constructor(cart) {
    const proxy = {
      add: (sku, quantity = 1) => {
        cart.add(sku, quantity);
        return proxy;
      },
      remove: (sku) => {
        cart.remove(sku);
        return proxy;
      },
      lines: (currency = "EUR") => cart.lines(currency),
      total: (currency = "EUR") => cart.total(currency),
      checkout: (currency = "EUR") => cart.checkout(currency),
    };
    return proxy;
  }
}

class CartFactory {
  constructor(priceService, orderService, catalogRepository) {
    this.priceService = priceService;
    this.orderService = orderService;
    this.catalogRepository = catalogRepository;
  }

  create(guard) {
    return new CartProxy(new Cart(this.priceService, this.orderService, this.catalogRepository, guard));
  }
}

module.exports = { CartFactory };
