"use strict";

module.exports = { parse: require("./parser").parse, stringify: require("./writer").stringify };
