"""Error codes: what each database says when the same work may succeed later; closed lists.

passing    an outage, a deadlock, a full disk
blocked    somebody else holds a lock, or the statement took too long
rejected   a privilege or a table is missing, or the statement is a bug of ours
"""

import re

PASSING = (
    "08",  # connections
    "25006",  # a standby, where nothing is written
    "25P02",  # an earlier statement of the transaction failed
    "25P03",  # the transaction was idle for too long
    "25P04",  # or took too long
    "40",  # deadlocks and other rollbacks
    "53",  # too many connections, a full disk, no memory
    "55006",  # an object in use
    "57",  # the operator
    "58",  # the system
    "72000",  # a snapshot that is too old
)
"""SQLSTATEs of PostgreSQL, or the classes that they begin with."""

BLOCKED = ("55P03", "57014")
"""Its lock_timeout or statement_timeout is over."""

REJECTED = (
    "0A",  # what this server cannot do
    "26",  # a prepared statement that it does not know: a pool in transaction mode is in between
    "28",  # users and passwords
    "3D",  # databases
    "3F",  # schemas
    "42",  # syntax, access, tables, columns
    "55",  # a table that is set up so that it cannot be changed
)

ADMISSION = ("28", "3D", "42501")
"""What PostgreSQL says to somebody whom it does not let in."""

NO_SERVER = ("rejected SSL upgrade", "Packet sequence number wrong", "unexpected protocol")
"""What drivers say of a server of another kind, or without TLS."""

FUNCTION = ("PL/", "function")
"""What PostgreSQL says in the context of errors of functions; the first in any language."""

AWAY = {"25P03", "57P01", "57P02", "57P03", "57P05"}
"""It ended the session, shuts down, has crashed, or is starting up."""

MYSQL_CLIENT = range(2000, 3000)
"""Numbers of MariaDB's and MySQL's drivers: the connection was lost, or never made."""

# fmt: off
MYSQL_PASSING = {
    0, 1015, 1020, 1021, 1026, 1030, 1037, 1038, 1041, 1047, 1114, 1180, 1206, 1412, 1615, 1637,
    1040, 1129, 1135, 1203, 1226,  # too many connections, threads, or queries of this user
    1042, 1043, 1152, 1158, 1159, 1160, 1161, 1184, 4031,  # the connection
    1053, 1077, 1078, 1079, 1080, 1317, 1689, 1927, 1928, 3168, 3169,  # shut down, or killed
    1213, 1290, 1792, 1836, 3100, 3101,  # a deadlock, read only, a conflict in a cluster
}
MYSQL_ADMISSION = {1044, 1045, 1049, 1130, 1251, 1698, 1820, 1862, 2026, 2054, 2059, 2061, 3118}
MYSQL_BLOCKED = {1205, 1969, 3024, 3572}
MYSQL_REJECTED = {
    1044, 1045, 1130, 1141, 1142, 1143, 1147, 1227, 1251, 1370, 1410, 1449, 1698, 1820, 1862, 3118,
    1046, 1049, 1051, 1054, 1064, 1072, 1109, 1136, 1146, 1235, 1267, 1271, 1304, 1305, 1347, 1356,
}
# fmt: on

SQLITE_PASSING = {
    *(3, 23),  # permissions
    *(4, 9),  # interrupted
    *(5, 6, 15),  # locked
    *(7, 13),  # no memory, a full disk
    *(8, 10, 14, 22),  # a file that cannot be opened, read or written
    17,  # another schema
}
"""SQLite's result codes."""

SQLITE_FILE = {3, 8, 14, 23, 26}
"""A file that cannot be opened or written, or is no database."""

SQLITE_REJECTED = {11, 26}
"""A file that is damaged, or no database."""

SQLITE_WRONG = re.compile(r"no such (table|column|function)|near \"|table .+ has no column")
"""What it says of statements that do not fit its tables, under the code of all other errors."""

SQLITE_GONE = ("no active connection", "Cannot operate on a closed database")

LOST_BY_THE_DRIVER = {"InterfaceError", "InternalError", "OperationalError", "InternalClientError"}
"""Classes of errors that have no code, by their names in all drivers."""
