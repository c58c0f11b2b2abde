"use strict";

const { ShopError } = require("../core/errors");

class CatalogRepository {
  constructor(options) {
    this.options = options;
  }

  findBySku(sku) {
    const catalog = this.options.catalog || {};
    return Object.prototype.hasOwnProperty.call(catalog, sku) ? catalog[sku] : null;
  }

  getBySku(sku) {
    const item = this.findBySku(sku);
    if (item === null) throw new ShopError("unknown-sku", "no such article: " + sku);
    return item;
  }
}

module.exports = { CatalogRepository };
