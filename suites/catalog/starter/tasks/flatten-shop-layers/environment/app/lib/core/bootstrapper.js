"use strict";

const { Container } = require("./container");
const { TOKENS } = require("./tokens");
const { CatalogRepository } = require("../services/catalogRepository");
const { RateProvider } = require("../services/rateProvider");
const { TaxService } = require("../services/taxService");
const { DiscountService } = require("../services/discountService");
const { PriceService } = require("../services/priceService");
const { OrderService } = require("../services/orderService");
const { CachingRateProvider } = require("../decorators/cachingRateProvider");
const { ValidatingPriceService } = require("../decorators/validatingPriceService");
const { LoggingPriceService } = require("../decorators/loggingPriceService");
const { CartFactory } = require("../factories/cartFactory");
const { LoggerFactory } = require("../factories/loggerFactory");
const { ShopFacade } = require("../facade/shopFacade");

class ApplicationBootstrapper {
  constructor(options) {
    this.options = options;
    this.container = new Container();
  }

  bootstrap() {
    this.bindInfrastructure();
    this.bindServices();
    this.bindFacade();
    return this;
  }

  bindInfrastructure() {
    this.container.bind(TOKENS.Options).toValue(this.options);
    this.container.bind(TOKENS.Logger).toFactory((options) => new LoggerFactory(options).create(), [TOKENS.Options]).inSingletonScope();
    this.container.bind(TOKENS.Clock).toFactory((options) => options.clock || Date.now, [TOKENS.Options]).inSingletonScope();
    this.container.bind(TOKENS.RateCache).toFactory(() => new Map()).inSingletonScope();
  }

  bindServices() {
    this.container.bind(TOKENS.CatalogRepository).toClass(CatalogRepository, [TOKENS.Options]).inSingletonScope();
    this.container.bind(TOKENS.RateProvider).toClass(RateProvider, [TOKENS.Options])
      .decoratedWith(CachingRateProvider, [TOKENS.RateCache]).inSingletonScope();
    this.container.bind(TOKENS.TaxService).toClass(TaxService).inSingletonScope();
    this.container.bind(TOKENS.DiscountService).toClass(DiscountService).inTransientScope();
    this.container.bind(TOKENS.PriceService)
      .toClass(PriceService, [TOKENS.CatalogRepository, TOKENS.RateProvider, TOKENS.TaxService, TOKENS.DiscountService])
      .decoratedWith(ValidatingPriceService, [TOKENS.CatalogRepository])
      .decoratedWith(LoggingPriceService, [TOKENS.Logger]).inSingletonScope();
    this.container.bind(TOKENS.OrderService).toClass(OrderService, [TOKENS.Clock, TOKENS.Logger]).inSingletonScope();
    this.container.bind(TOKENS.CartFactory)
      .toClass(CartFactory, [TOKENS.PriceService, TOKENS.OrderService, TOKENS.CatalogRepository]).inSingletonScope();
  }

  bindFacade() {
    this.container.bind(TOKENS.ShopFacade)
      .toClass(ShopFacade, [TOKENS.PriceService, TOKENS.OrderService, TOKENS.CartFactory, TOKENS.RateProvider, TOKENS.Logger])
      .inSingletonScope();
  }

  getFacade() {
    return this.container.resolve(TOKENS.ShopFacade).expose();
  }
}

module.exports = { ApplicationBootstrapper };
