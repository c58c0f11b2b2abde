"use strict";

async function settle(queue, jobs) {
  const results = [];
  const pending = jobs.map((job) =>
    queue.push(job).then(
      (value) => results.push({ ok: true, value }),
      (error) => results.push({ ok: false, error }),
    ),
  );
  await Promise.all(pending);
  return results;
}

module.exports = { settle };
