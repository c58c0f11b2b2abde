"use strict";

const { ShopError } = require("../core/errors");

class LifecycleGuard {
  constructor() {
    this.closed = false;
  }

  check() {
    if (this.closed) throw new ShopError("closed", "the shop is closed");
  }

  close() {
    this.closed = true;
  }
}

class ShopFacade {
  constructor(priceService, orderService, cartFactory, rateProvider, logger) {
    this.priceService = priceService;
    this.orderService = orderService;
    this.cartFactory = cartFactory;
    this.rateProvider = rateProvider;
    this.logger = logger;
    this.guard = new LifecycleGuard();
  }

  price(sku, quantity, currency) {
    this.guard.check();
    return this.priceService.calculate(sku, quantity, currency);
  }

  cart() {
    this.guard.check();
    return this.cartFactory.create(this.guard);
  }

  orders() {
    return this.orderService.list();
  }

  refresh() {
    this.guard.check();
    this.rateProvider.invalidate();
  }

  close() {
    if (this.guard.closed) return;
    this.guard.close();
    this.logger.write("closed after " + this.orderService.list().length + " orders");
  }

  expose() {
    return {
      price: (sku, quantity = 1, currency = "EUR") => this.price(sku, quantity, currency),
      cart: () => this.cart(),
      orders: () => this.orders(),
      refresh: () => this.refresh(),
      close: () => this.close(),
    };
  }
}

module.exports = { ShopFacade };
