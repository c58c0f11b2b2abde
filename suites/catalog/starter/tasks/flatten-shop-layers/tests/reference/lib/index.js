"use strict";

const { ApplicationBootstrapper } = require("./core/bootstrapper");
const { ShopError } = require("./core/errors");
const { TAXES } = require("./services/taxService");

function createShop(options) {
  return new ApplicationBootstrapper(options || {}).bootstrap().getFacade();
}

module.exports = { createShop, ShopError, TAXES };
