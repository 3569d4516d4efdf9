"""What it means: agents and tokens, packs, quotes, purchases, fulfillment. The only place that knows rails and books.

Pure: `refusals` (every expected "no"), `packs` (what is sold), `attempts` (the state machine), `posting_rules` (fact →
transfers), `settlements` (does the money agree with the quote). Rows: `tables`. With PostgreSQL: `identity` (sign up,
tokens, agents), `quotes`, `purchases` (buy, reopen, cancel), `fulfillment` (a fact is applied: the only place where
money moves), `status`, `activity`, `balances`.
"""
