"use strict";

module.exports = {
  Emitter: require("./emitter").Emitter,
  Queue: require("./queue").Queue,
  settle: require("./settle").settle,
};
