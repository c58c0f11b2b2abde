"use strict";

class LoggingPriceService {
  constructor(inner, logger) {
    this.inner = inner;
    this.logger = logger;
  }

  calculate(sku, quantity, currency) {
    try {
      const price = this.inner.calculate(sku, quantity, currency);
      this.logger.write("price " + sku + " x" + quantity + " = " + price.gross + " " + currency);
      return price;
    } catch (error) {
      this.logger.write("price " + sku + " failed: " + (error.code || error.message));
      throw error;
    }
  }
}

module.exports = { LoggingPriceService };
