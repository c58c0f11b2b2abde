"use strict";

class PriceService {
  constructor(catalogRepository, rateProvider, taxService, discountService) {
    this.catalogRepository = catalogRepository;
    this.rateProvider = rateProvider;
    this.taxService = taxService;
    this.discountService = discountService;
  }

  calculate(sku, quantity, currency) {
    const item = this.catalogRepository.getBySku(sku);
    const euro = this.discountService.discounted(item.cents * quantity, quantity);
    const net = Math.round(euro * this.rateProvider.getRate(currency));
    const tax = this.taxService.calculateTax(item, net);
    return { sku, quantity, currency, net, tax, gross: net + tax };
  }
}

module.exports = { PriceService };
