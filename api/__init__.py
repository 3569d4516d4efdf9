"""The doors of the house: HTTP, human pages, the command line; and the one place where everything is wired together.

`settings` reads the environment, `wiring` makes a `House` of them, `logs` says how lines look, `metrics` what is
counted, `alerts` how payments and letters stand, `alarms` (pure) when that is worth saying, `refunds` sends one,
`native` is the x402 rail of this process, `outside` the product's own servers, `price_list` what is sold for credits,
`account_map` how exports call accounts, `screening` a list of who may not pay there, `freshening` reads a stuck payment
again, `windows` (pure) counts so many in a minute, `worker` is the loop that turns letters into grants. `http/` is the
API under `/v1`, `documents/` what agents read of it, `pages/` the human's links `/pay/{attempt}` and `/owner`. `cli` is
the door of the command line, `command_line/` what its commands print, `reasons` why one cannot go on, `demo/` the walk
of `make demo`. `running/` serves, embeds, migrates and checks; `postgres/` supervises the embedded PostgreSQL.
"""
