'use strict';

/** Imports customers page by page, and lets others go first after `patience` milliseconds. */
class ImportCustomers {
  static get name() {
    return 'import_customers';
  }

  static create(programData) {
    return new ImportCustomers(programData);
  }

  constructor({ pages, patience = 60000 }) {
    this._pages = pages;
    this._patience = patience;
  }

  async execute(message, jobDataHandler) {
    let { page = 0 } = await jobDataHandler.get();
    while (page < this._pages) {
      page += 1; // here a page is read and stored
      await jobDataHandler.checkpoint({ page }, this._patience);
    }
  }
}

module.exports = ImportCustomers;
