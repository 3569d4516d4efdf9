"""A signed payment that somebody presented becomes money on the chain, and then credits, once.

Pure: `billing.settlement_states` (the states), `screening` (who must not pay here). With PostgreSQL: `records` (the
rows and their locks), `claiming` (a payment is bound to an attempt before anything is sent), `wallets` (whose wallet
is whose). With the chain as well: `sighting` (where a payment stands, how final it is, whether it can still come),
`own` (we carry it out and pay the gas), `nonces` (one transaction at a time), `delegating` (a facilitator carries it
out), `granting` (paid: granted, held or kept), `deciding` (what an operator says of one that is held), `reorganizing`
(paid, and then not), `gas_costs` (gas goes into the books), and `advancing`: one turn of a settlement, whoever drives
it, any number of times.

Lock order: settlement → gas wallet; settlement → organization → quote → attempt → payment → books.
"""
