"use strict";

// Every injectable thing has a token, so that nobody depends on anything concrete.
const TOKENS = Object.freeze({
  Options: Symbol("Options"),
  Logger: Symbol("Logger"),
  Clock: Symbol("Clock"),
  CatalogRepository: Symbol("CatalogRepository"),
  RateProvider: Symbol("RateProvider"),
  RateCache: Symbol("RateCache"),
  TaxService: Symbol("TaxService"),
  DiscountService: Symbol("DiscountService"),
  PriceService: Symbol("PriceService"),
  OrderService: Symbol("OrderService"),
  CartFactory: Symbol("CartFactory"),
  ShopFacade: Symbol("ShopFacade"),
});

module.exports = { TOKENS };
