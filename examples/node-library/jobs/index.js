// A job library as the Node library takes it: {job name: class}.
'use strict';

const jobs = [require('./charge'), require('./import-customers'), require('./summarize')];

module.exports = Object.fromEntries(jobs.map((job) => [job.name, job]));
