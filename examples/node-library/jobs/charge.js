'use strict';

// your library has these from '@emartech/program-executor'; only their attributes matter
class RetryableError extends Error {
  constructor(message, code) {
    super(message);
    Object.assign(this, { code, retryable: true });
  }
}

class IgnorableError extends Error {
  constructor(message, code) {
    super(message);
    Object.assign(this, { code, ignorable: true });
  }
}

/** Charges a card. */
class Charge {
  static get name() {
    return 'charge';
  }

  static create(programData) {
    return new Charge(programData);
  }

  constructor({ card, cents }) {
    this._card = card;
    this._cents = cents;
  }

  async execute(message, jobDataHandler) {
    if (this._card === 'busy') throw new RetryableError('the bank is busy', 503);
    if (this._card === 'declined') throw new IgnorableError('the card was declined', 402);
    const receipt = `${message.runId}: ${this._cents.toFixed()} cents`;
    await jobDataHandler.merge({ receipt });
  }
}

module.exports = Charge;
