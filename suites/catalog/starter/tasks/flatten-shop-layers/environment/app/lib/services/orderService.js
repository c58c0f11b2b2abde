"use strict";

class OrderService {
  constructor(clock, logger) {
    this.clock = clock;
    this.logger = logger;
    this.orders = [];
  }

  place(lines, currency) {
    const total = lines.reduce((sum, line) => sum + line.gross, 0);
    const order = { id: this.orders.length + 1, time: this.clock(), currency, lines, total };
    this.orders.push(order);
    this.logger.write("order #" + order.id + " = " + total + " " + currency);
    return order;
  }

  list() {
    return this.orders.slice();
  }
}

module.exports = { OrderService };
