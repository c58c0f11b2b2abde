"use strict";

const { ShopError } = require("../core/errors");

const TAXES = Object.freeze({ standard: 20, reduced: 7, none: 0 });

class TaxService {
  getPercentage(item) {
    const percentage = TAXES[item.tax];
    if (percentage === undefined) throw new ShopError("unknown-tax", "no such tax: " + item.tax);
    return percentage;
  }

  calculateTax(item, net) {
    return Math.round((net * this.getPercentage(item)) / 100);
  }
}

module.exports = { TaxService, TAXES };
