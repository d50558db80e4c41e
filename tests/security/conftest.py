"""What the tests of holes share: a service's loops on each kind of database, and what is logged."""

from lines import logs as logs
from stage import stage as stage
