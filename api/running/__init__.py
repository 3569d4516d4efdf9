"""Running the service on a machine, with whatever it must bring along.

`serving` is the supervisor behind `purser serve`; `embedding` finds or starts the database, the sandbox
(`local_sandbox`) and, when asked, a chain (`local_chain`), and keeps their passwords and ports (`remembered`);
`migrating` brings a database to the newest schema; `checks` says what is wrong with an installation; `children` are
processes that end with us.
"""
