'use strict';

/** Replaces all job data by a summary of them. */
class Summarize {
  static get name() {
    return 'summarize';
  }

  static create() {
    return new Summarize();
  }

  async execute(message, jobDataHandler) {
    const old = await jobDataHandler.get();
    await jobDataHandler.set({ summary: Object.keys(old), left: message.jobs });
  }
}

module.exports = Summarize;
