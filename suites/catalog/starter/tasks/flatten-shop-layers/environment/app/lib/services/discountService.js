"use strict";

class DiscountStrategy {
  constructor(minimum, percentage) {
    this.minimum = minimum;
    this.percentage = percentage;
  }

  isApplicable(quantity) {
    return quantity >= this.minimum;
  }

  apply(cents) {
    return cents - Math.floor((cents * this.percentage) / 100);
  }
}

class NullDiscountStrategy extends DiscountStrategy {
  constructor() {
    super(0, 0);
  }

  apply(cents) {
    return cents;
  }
}

class DiscountStrategyRegistry {
  constructor() {
    this.strategies = [];
  }

  register(strategy) {
    this.strategies.push(strategy);
    this.strategies.sort((a, b) => b.minimum - a.minimum);
    return this;
  }

  select(quantity) {
    return this.strategies.find((strategy) => strategy.isApplicable(quantity));
  }
}

class DiscountService {
  constructor() {
    this.registry = new DiscountStrategyRegistry()
      .register(new NullDiscountStrategy())
      .register(new DiscountStrategy(10, 5))
      .register(new DiscountStrategy(100, 12));
  }

  discounted(cents, quantity) {
    return this.registry.select(quantity).apply(cents);
  }
}

module.exports = { DiscountService };
