"""What it means: agents and tokens, packs, quotes, purchases, fulfillment. The only place that knows rails and books.

Pure: `refusals` (every expected "no"), `packs` (what is sold), `attempts` (the state machine), `settlements` (does the
money agree with the quote), `posting_rules` (fact → transfers), `actions` (a rail's action as it is stored). Rows:
`tables`; how they are reached: `database`; new ids and secrets: `fresh`. With PostgreSQL: `identity` (sign up, tokens,
agents), `quotes`, `purchases` (buy), `requests` (what is sent to a provider, stored first), `handoff` (the human's
link), `cancellations`, `sweeping` (what nobody came back for), `fulfillment` (a fact is applied: the only place where
money moves), `status`, `activity`, `proofs` (payments, grants, receipts and successes agree).
"""
