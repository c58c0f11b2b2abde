"use strict";
const fs = require("fs");
const os = require("os");
const path = require("path");
const { main, child, copyOfProject, same } = require("/tests/ctrf.js");

// Only lib/ counts: code that was moved elsewhere is not there.
const ROOT = fs.mkdtempSync(path.join(os.tmpdir(), "t-"));
if (fs.existsSync("/app/lib")) fs.renameSync(copyOfProject("/app/lib"), ROOT + "/lib");

const RUN = `
const { createShop, ShopError, TAXES } = load("./lib");
return data.map((steps) => {
  const seen = [];
  const catalog = {
    tea: { name: "Tea", cents: 450, tax: "reduced" }, pot: { name: "Pot", cents: 2999, tax: "standard" },
    book: { name: "Book", cents: 1333, tax: "none" }, odd: { name: "Odd", cents: 100, tax: "luxury" } };
  let known = { USD: 1.1, JPY: 163.25, BAD: 0, NEG: -1, NAN: NaN };
  let now = 1000;
  const make = () => createShop({
    catalog, log: (line) => seen.push("log: " + line), clock: () => { seen.push("clock"); return now++; },
    rates: (c) => { seen.push("rates " + c); if (c === "ERR") throw new Error("rates are down"); return known[c]; } });
  const shops = [make(), make()];
  const carts = [shops[0].cart(), shops[0].cart(), shops[1].cart()];
  for (const [what, ...args] of steps) {
    try {
      let result;
      if (what === "known") known = args[0];
      else if (what === "catalog") catalog[args[0]] = args[1];
      else if (what.startsWith("cart")) {
        const cart = carts[what[4]];
        const call = cart[args[0]];
        result = call(...args.slice(1));
        if (result === cart) result = "the cart";
      } else {
        const call = shops[what[4]][args[0]];
        result = call(...args.slice(1));
        if (args[0] === "orders") { const copy = JSON.parse(JSON.stringify(result)); result.push("x"); result = copy; }
        if (args[0] === "cart") result = Object.keys(result).sort();
      }
      seen.push(["ok", result === undefined ? "undefined" : result]);
    } catch (e) {
      seen.push(["error", e instanceof ShopError, e.name, e.code, e.message]);
    }
  }
  return seen;
});
`;

function agrees(...scenarios) {
  const [want, got] = ["/tests/reference", ROOT].map((root) => child(root, RUN, scenarios));
  same(got.length, scenarios.length);
  scenarios.forEach((steps, n) => {
    for (let i = 0; i < Math.max(want[n].length, got[n].length); i++) {
      same(got[n][i], want[n][i], `at ${i} of ${JSON.stringify(steps).slice(0, 300)}`);
    }
  });
}

function generated(seed, count) {
  let state = seed;
  const random = (n) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 16) % n;
  };
  const pick = (list) => list[random(list.length)];
  const sku = () => pick(["tea", "pot", "book", "tea", "pot", "book", "odd", "cup", "toString"]);
  const quantity = () => pick([1, 2, 3, 9, 10, 11, 99, 100, 101, 0, -1, 1.5]);
  const currency = () => pick(["EUR", "EUR", "USD", "USD", "JPY", "GBP", "BAD", "ERR", "usd", "EURO"]);
  const step = () => {
    const cart = "cart" + random(3);
    switch (random(16)) {
      case 0: case 1: return ["shop" + random(2), "price", sku(), quantity(), currency()];
      case 2: case 3: case 4: case 5: return [cart, "add", sku(), quantity()];
      case 6: return [cart, "remove", sku()];
      case 7: case 8: return [cart, "total", currency()];
      case 9: return [cart, "lines", currency()];
      case 10: case 11: return [cart, "checkout", currency()];
      case 12: return ["shop" + random(2), "orders"];
      case 13: return ["shop" + random(2), "refresh"];
      case 14: return random(8) ? ["shop0", "orders"] : ["shop" + random(2), "close"];
      default: return ["known", { USD: 1 + random(9) / 7, GBP: random(2) ? 0.85 : undefined }];
    }
  };
  return Array.from({ length: count }, () => Array.from({ length: 30 }, step));
}

function tree(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((e) => {
    const name = path.join(folder, e.name);
    return e.isDirectory() ? tree(name) : [name];
  });
}

const TOKEN = /\/\/[^\n]*|\/\*[^]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|[\p{L}\p{N}_$#]+|[^\s]/gu;

main({
  prices() {
    const steps = [];
    for (const sku of ["tea", "pot", "book"]) for (const n of [1, 3, 9, 10, 37, 99, 100, 250]) for (const c of ["EUR", "USD", "JPY"]) steps.push(["shop0", "price", sku, n, c]);
    agrees(steps, [["shop0", "price", "tea"], ["shop0", "price", "tea", 10], ["shop1", "price", "book", 1, "USD"]]);
  },
  carts_and_orders() {
    agrees([["cart0", "add", "tea"], ["cart0", "add", "pot", 2], ["cart0", "add", "tea", 9], ["cart0", "lines"], ["cart0", "total", "USD"], ["cart0", "checkout"],
      ["cart0", "checkout"], ["cart1", "add", "book"], ["cart1", "checkout", "JPY"], ["cart2", "add", "tea"], ["cart2", "checkout"], ["shop0", "orders"], ["shop0", "orders"], ["shop1", "orders"],
      ["cart0", "add", "pot"], ["cart0", "add", "tea"], ["cart0", "remove", "pot"], ["cart0", "add", "pot"], ["cart0", "remove", "book"], ["cart0", "lines", "EUR"]]);
  },
  which_error_comes_first() {
    agrees([["shop0", "price", "cup", 0, "xx"], ["shop0", "price", "cup", 1, "xx"], ["shop0", "price", "tea", 1, "xx"], ["shop0", "price", "tea", 0, "GBP"],
      ["shop0", "price", "odd", 1, "GBP"], ["shop0", "price", "odd", 1, "USD"], ["cart0", "add", "cup", 0], ["cart0", "add", "tea", 0], ["cart0", "add", "tea", "2"],
      ["cart0", "remove", "tea"], ["cart0", "checkout", "xx"], ["cart0", "total", "xx"], ["shop0", "price", "tea", 1, null], ["shop0", "price", "toString"], ["shop0", "price"]]);
  },
  rates_are_asked_as_before() {
    agrees([["shop0", "price", "tea", 1, "USD"], ["shop0", "price", "pot", 1, "USD"], ["shop1", "price", "pot", 1, "USD"], ["known", { USD: 2 }],
      ["shop0", "price", "tea", 1, "USD"], ["shop0", "refresh"], ["shop0", "price", "tea", 1, "USD"], ["shop1", "price", "tea", 1, "USD"], ["shop0", "price", "tea", 1, "EUR"]],
    [["shop0", "price", "tea", 1, "GBP"], ["shop0", "price", "tea", 1, "GBP"], ["known", { GBP: 0.5 }], ["shop0", "price", "tea", 1, "GBP"], ["known", {}], ["shop0", "price", "tea", 1, "GBP"],
      ["shop0", "price", "tea", 1, "BAD"], ["shop0", "price", "tea", 1, "NEG"], ["shop0", "price", "tea", 1, "NAN"], ["shop0", "price", "tea", 1, "ERR"], ["shop0", "price", "tea", 1, "ERR"]]);
  },
  failed_checkout_keeps_the_cart() {
    agrees([["cart0", "add", "tea"], ["cart0", "add", "odd"], ["cart0", "add", "pot"], ["cart0", "checkout", "USD"], ["shop0", "orders"], ["cart0", "remove", "odd"],
      ["cart0", "checkout", "GBP"], ["cart0", "checkout", "USD"], ["cart0", "total"], ["shop0", "orders"]]);
  },
  catalog_is_read_at_each_call() {
    agrees([["cart0", "add", "tea"], ["catalog", "tea", { name: "Tea", cents: 500, tax: "none" }], ["cart0", "total"], ["catalog", "cup", { name: "Cup", cents: 1, tax: "standard" }],
      ["shop0", "price", "cup", 3], ["cart0", "add", "cup"], ["cart0", "checkout"]]);
  },
  closing() {
    agrees([["cart0", "add", "tea"], ["cart0", "checkout"], ["cart0", "add", "tea"], ["shop0", "close"], ["shop0", "close"], ["shop0", "price", "cup"], ["cart0", "add", "cup"], ["cart0", "remove", "cup"],
      ["cart0", "lines"], ["cart0", "total"], ["cart0", "checkout"], ["shop0", "cart"], ["shop0", "refresh"], ["shop0", "orders"], ["shop1", "price", "tea"], ["shop1", "cart"]]);
  },
  many_scenarios() {
    agrees(...generated(7, 120));
  },
  exports_and_defaults() {
    const code = `const lib = load("./lib"); const shop = lib.createShop({ catalog: { a: { cents: 5, tax: "none" } } });
      const before = Date.now(); const order = shop.cart().add("a").checkout(); const after = Date.now();
      const error = (f) => { try { return f(); } catch (e) { return [e instanceof Error, e.code, e.message]; } };
      return [Object.keys(lib).sort(), lib.TAXES, Object.isFrozen(lib.TAXES), Object.keys(shop).sort(), Object.keys(order), before <= order.time && order.time <= after,
        error(() => shop.price("a", 1, "USD")), error(() => lib.createShop().price("a")), String(shop.refresh()), String(shop.close())]`;
    same(child(ROOT, code), child("/tests/reference", code));
  },
  layers_are_gone() {
    for (const folder of ["core", "decorators", "facade", "factories", "services"]) {
      if (fs.existsSync(path.join(ROOT, "lib", folder))) throw new Error(`lib/${folder} is still there`);
    }
    for (const file of tree(ROOT + "/lib")) {
      const found = fs.readFileSync(file, "utf8").match(/\b(Container|BindingBuilder|ApplicationBootstrapper|TOKENS|inSingletonScope)\b|\beval\(|new Function\b/);
      if (found) throw new Error(`${path.relative(ROOT, file)} still has ${found[0]}`);
    }
  },
  at_most_four_files() {
    const count = tree(ROOT + "/lib").length;
    if (count < 1 || count > 4) throw new Error(count + " files");
  },
  tokens_within_bound() {
    let count = 0;
    for (const file of tree(ROOT + "/lib")) {
      count += (fs.readFileSync(file, "utf8").match(TOKEN) || []).filter((t) => !t.startsWith("//") && !t.startsWith("/*")).length;
    }
    if (count < 1 || count > 1250) throw new Error(count + " tokens, at most 1250 are allowed");
  },
});
