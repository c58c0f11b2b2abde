"use strict";

const { ShopError } = require("../core/errors");

class ValidatingPriceService {
  constructor(inner, catalogRepository) {
    this.inner = inner;
    this.catalogRepository = catalogRepository;
  }

  calculate(sku, quantity, currency) {
    if (!Number.isInteger(quantity) || quantity < 1) {
      throw new ShopError("bad-quantity", "not a quantity: " + quantity);
    }
    this.catalogRepository.getBySku(sku);
    if (typeof currency !== "string" || !/^[A-Z]{3}$/.test(currency)) {
      throw new ShopError("unknown-currency", "not a currency: " + currency);
    }
    return this.inner.calculate(sku, quantity, currency);
  }
}

module.exports = { ValidatingPriceService };
