"use strict";

class CachingRateProvider {
  constructor(inner, cache) {
    this.inner = inner;
    this.cache = cache;
  }

  getRate(currency) {
    if (!this.cache.has(currency)) {
      this.cache.set(currency, this.inner.getRate(currency));
    }
    return this.cache.get(currency);
  }

  invalidate() {
    this.cache.clear();
    this.inner.invalidate();
  }
}

module.exports = { CachingRateProvider };
